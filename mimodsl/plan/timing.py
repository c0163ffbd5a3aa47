"""How long a step takes whose stages take unequal times."""

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final

from attrs import frozen

from mimodsl.plan.schedule import Pass, PassKind, StageSchedule

FOLLOWED: Final = 4096
"""Passes that are followed one by one; the rest of a longer step goes at the slowest's pace."""


@frozen(kw_only=True)
class PassTimes:
    """How long the passes of one microbatch take on a stage, in any unit."""

    forward: float
    backward: float

    @property
    def both(self) -> float:
        return self.forward + self.backward


def step_time(stages: Sequence[PassTimes], microbatches: int) -> float:
    """From the first pass of a step to the end of its last one.

    Every pass starts as soon as its stage is free and its input is there; messages take no time.
    Once the pipeline is full its slowest stage sets the pace. Of a step too long to be followed all
    the rest is taken to go at that pace, which only stages of nearly equal times are late to reach.
    """
    followed = min(microbatches, max(FOLLOWED // (2 * len(stages)), len(stages)))
    pace = max(stage.both for stage in stages)
    return _followed(stages, followed) + (microbatches - followed) * pace


def _followed(stages: Sequence[PassTimes], microbatches: int) -> float:
    free = [0.0] * len(stages)
    ahead: dict[tuple[int, int], float] = {}
    back: dict[tuple[int, int], float] = {}
    for stage, step in _in_order(len(stages), microbatches):
        forward, number = step.kind is PassKind.FORWARD, step.microbatch
        if forward:
            done, source, takes = ahead, stage - 1, stages[stage].forward
        else:
            done, source, takes = back, stage + 1, stages[stage].backward
        start = max(free[stage], done.pop((source, number), 0.0))
        free[stage] = done[stage, number] = start + takes
    return max(free)


def _in_order(stages: int, microbatches: int) -> Iterator[tuple[int, Pass]]:
    """The passes of all stages, each after those that it waits for: in the order of equal slots."""

    def slots(stage: int) -> Iterator[tuple[int, int, Pass]]:
        schedule = StageSchedule(stage=stage, stages=stages, microbatches=microbatches)
        for slot, step in schedule.timeline():
            yield slot, stage, step

    ordered = sorted(chain.from_iterable(map(slots, range(stages))), key=itemgetter(0))
    return ((stage, step) for _, stage, step in ordered)
