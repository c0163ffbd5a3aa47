"""How long a step takes whose stages take unequal times."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final

from attrs import frozen

from mimodsl.planner.schedule import Pass, PassKind, StageSchedule

FOLLOWED: Final = 4096
"""Passes that are followed one by one; the rest of a longer step goes at the slowest's pace."""


@frozen(kw_only=True)
class StageTimes:
    """How long ranks that run one stage together take, in any unit.

    `forward` and `backward` are for the passes of one microbatch, `before` for what comes before
    the first pass of a step and `after` for what comes behind the last. An output takes `output` to
    reach the next stage, and its gradient `gradient` to come back.
    """

    forward: float
    backward: float
    before: float = 0.0
    after: float = 0.0
    output: float = 0.0
    gradient: float = 0.0

    @property
    def both(self) -> float:
        return self.forward + self.backward


type Stage = Sequence[StageTimes]
"""A stage by its sets of ranks: several encoders run their first stages side by side."""


def by_stage(stages: int, times: Iterable[tuple[int, StageTimes]]) -> tuple[Stage, ...]:
    """The stages of a pipeline, from the times of sets of ranks and the stage that each runs."""
    found: tuple[list[StageTimes], ...] = tuple([] for _ in range(stages))
    for stage, one in times:
        found[stage].append(one)
    return found


def step_time(stages: Sequence[Stage], microbatches: int) -> float:
    """From the start of a step to the end of the last that anyone does in it.

    Every pass starts as soon as its ranks are free and its inputs are there, from all ranks of the
    stage before. Once the pipeline is full its slowest stage sets the pace. Of a step too long to
    be followed all the rest is taken to go at that pace, which only stages of nearly equal times
    are late to reach.
    """
    followed = min(microbatches, max(FOLLOWED // (2 * len(stages)), len(stages)))
    pace = max(ranks.both for stage in stages for ranks in stage)
    return _followed(stages, followed) + (microbatches - followed) * pace


def _followed(stages: Sequence[Stage], microbatches: int) -> float:
    free = [[ranks.before for ranks in stage] for stage in stages]
    arrived: dict[tuple[int, int], float] = {}
    returned: dict[tuple[int, int], float] = {}
    for stage, step in _in_order(len(stages), microbatches):
        here = stage, step.microbatch
        for place, ranks in enumerate(stages[stage]):
            if step.kind is PassKind.FORWARD:
                start = max(free[stage][place], arrived.get((stage - 1, step.microbatch), 0.0))
                end = start + ranks.forward
                arrived[here] = max(arrived.get(here, 0.0), end + ranks.output)
            else:
                back = returned.get((stage + 1, step.microbatch), 0.0) + ranks.gradient
                end = max(free[stage][place], back) + ranks.backward
                returned[here] = max(returned.get(here, 0.0), end)
            free[stage][place] = end
    return max(
        end + ranks.after
        for stage, ends in zip(stages, free, strict=True)
        for ranks, end in zip(stage, ends, strict=True)
    )


def _in_order(stages: int, microbatches: int) -> Iterator[tuple[int, Pass]]:
    """The passes of all stages, each after those that it waits for: in the order of equal slots."""

    def slots(stage: int) -> Iterator[tuple[int, int, Pass]]:
        schedule = StageSchedule(stage=stage, stages=stages, microbatches=microbatches)
        for slot, step in schedule.timeline():
            yield slot, stage, step

    ordered = sorted(chain.from_iterable(map(slots, range(stages))), key=itemgetter(0))
    return ((stage, step) for _, stage, step in ordered)
