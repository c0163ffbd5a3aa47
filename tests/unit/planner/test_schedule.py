"""The order of passes on every stage."""

import pytest

from mimodsl.planner.plan import plan
from mimodsl.planner.schedule import PassKind, StageSchedule
from tests.unit.planner.specs import PIPELINE, SHARED, SIDE_BY_SIDE, alone


def order(stage: int, stages: int, microbatches: int) -> str:
    schedule = StageSchedule(stage=stage, stages=stages, microbatches=microbatches)
    return " ".join(map(str, schedule.order()))


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (0, "F0 F1 F2 B0 F3 B1 B2 B3"),
        (1, "F0 F1 B0 F2 B1 F3 B2 B3"),
        (2, "F0 B0 F1 B1 F2 B2 F3 B3"),
    ],
)
def test_warm_up_shrinks_towards_the_last_stage(stage: int, expected: str) -> None:
    assert order(stage, 3, 4) == expected


def test_fewer_microbatches_than_stages() -> None:
    assert order(0, 4, 2) == "F0 F1 B0 B1"
    assert StageSchedule(stage=0, stages=4, microbatches=2).in_flight == 2


def test_the_encoder_is_the_first_stage() -> None:
    planned = plan(PIPELINE)
    assert planned.stages == 3
    assert [planned.rank(rank).schedule.stage for rank in range(8)] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert [(grid.name, list(ranks)) for grid, ranks in planned.stage(2)] == [("llm", [6, 7])]
    assert plan(SIDE_BY_SIDE).stages == 2


def test_on_the_same_ranks_nothing_is_pipelined() -> None:
    assert plan(SHARED).stages == 1
    assert [grid.name for grid, _ in plan(SHARED).stage(0)] == ["encoder", "llm"]
    assert str(next(plan(SHARED).rank(3).schedule.order())) == "F0"


def test_a_language_model_alone_has_its_own_stages() -> None:
    planned = plan(alone({"tp": 2, "pp": 3}))
    assert [planned.rank(rank).schedule.warmup for rank in range(6)] == [2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(("stages", "microbatches"), [(1, 3), (2, 4), (4, 2), (4, 9)])
def test_slots_respect_what_passes_wait_for(stages: int, microbatches: int) -> None:
    schedules = [
        StageSchedule(stage=stage, stages=stages, microbatches=microbatches)
        for stage in range(stages)
    ]
    slots = [{step: slot for slot, step in schedule.timeline()} for schedule in schedules]
    for stage, (own, schedule) in enumerate(zip(slots, schedules, strict=True)):
        times = [own[step] for step in schedule.order()]
        assert times == sorted(set(times))
        for step, slot in own.items():
            before = stage + (-1 if step.kind is PassKind.FORWARD else 1)
            assert not 0 <= before < stages or slots[before][step] < slot
    assert max(map(max, (own.values() for own in slots))) == 2 * (microbatches + stages - 1) - 1


def test_long_orders_keep_their_ends() -> None:
    schedule = StageSchedule(stage=0, stages=2, microbatches=100)
    assert schedule.text(8) == "F0 F1 B0 F2 B1 … B98 B99"
    assert StageSchedule(stage=1, stages=2, microbatches=2).text() == "F0 B0 F1 B1"
