"""Long pipelines are proved by short ones: the argument, link by link, and planted faults."""

from collections import Counter
from itertools import pairwise, product

import attrs
import pytest

from mimodsl.checker.proof import communication
from mimodsl.checker.proof.communication import PipelineNeighbour
from mimodsl.checker.proof.schedule import programs, prove_step
from mimodsl.checker.proof.shortening import shorten
from mimodsl.checker.proof.small_world import small_world
from mimodsl.checker.runner import check
from mimodsl.ir import Spec
from mimodsl.planner.plan import plan
from tests.unit.planner.specs import GPT, HYBRID, alone, vlm

LENGTHS = [*product((2, 3, 4, 7), range(1, 10)), (24, 5), (24, 23), (24, 24), (24, 40)]
EXCHANGES = {"send_forward", "recv_forward", "send_backward", "recv_backward"}
EXCHANGES |= {"send_forward_recv_backward", "send_backward_recv_forward"}


def pipeline(stages: int, microbatches: int) -> Spec:
    language = attrs.evolve(GPT, layers=2 * stages)
    return alone({"dp": 2, "pp": stages}, language=language, microbatches=microbatches)


def short(spec: Spec) -> Spec:
    return shorten(spec, plan(spec).stages)


def side(stage: int, name: str) -> int:
    """Which link a stage makes a call on: that behind it, or that to the stage before."""
    ahead = name in ("send_forward", "recv_backward", "send_forward_recv_backward")
    return stage if ahead else stage - 1


@pytest.mark.parametrize(("stages", "microbatches"), LENGTHS)
def test_numbers_of_calls_grow_on_every_stage(stages: int, microbatches: int) -> None:
    """As the argument says: of the calls that are left, both ends of the least are there."""
    first_late = stages - min(stages, microbatches)

    def number(link: int, call: int) -> int:
        turned = link < first_late and call >= microbatches
        return (2 * first_late - 2 - link if turned else link) + 2 * call

    calls: Counter[tuple[int, int]] = Counter()
    made = programs(small_world(plan(pipeline(stages, microbatches)), range(0, 2 * stages, 2)))
    for stage, program in enumerate(made.values()):
        numbers: list[int] = []
        for action in program:
            if action.name in EXCHANGES:
                link = side(stage, action.name)
                numbers.append(number(link, calls[stage, link]))
                calls[stage, link] += 1
        assert all(one < next_ for one, next_ in pairwise(numbers))
    for stage in range(stages - 1):
        assert calls[stage, stage] == calls[stage + 1, stage] > 0


@pytest.mark.parametrize("microbatches", [1, 6, 11, 40, 4000])
@pytest.mark.parametrize("stages", [3, 16, 17, 40, 4001])
def test_a_short_pipeline_has_the_ends_and_the_parity_of_the_long_one(
    stages: int, microbatches: int
) -> None:
    language = attrs.evolve(GPT, layers=3 * stages)
    spec = vlm(
        encoder={"dp": 2},
        dense={"dp": 2, "pp": stages},
        expert={"ep": 2, "pp": None},
        language=language,
        microbatches=microbatches,
    )
    small = short(spec)
    pp, late = small.grid("llm").size("pp"), min(stages + 1, microbatches)
    assert pp <= 17
    assert small.grid("llm").expert is not None
    assert (stages - pp) % 2 == 0
    assert plan(small).schedule(0).warmup == min(pp, small.schedule.microbatches)
    assert (small.schedule.microbatches < pp + 1) == (microbatches < stages + 1)
    assert (late - min(pp + 1, small.schedule.microbatches)) % 2 == 0
    assert not [one for one in check(small, ()) if one.is_error]


def test_a_pipeline_that_is_short_stays_as_it_is() -> None:
    spec = pipeline(8, 30)
    assert short(spec) is spec


def test_stages_are_left_out_of_the_middle_of_a_pattern() -> None:
    stages = ["M", *["E"] * 15, *["*"] * 16]
    language = attrs.evolve(HYBRID, pattern="|".join(stages))
    small = short(alone({"pp": 32}, language=language, microbatches=12))
    kept = small.language.kind.pattern.split("|")
    assert kept == ["M", "E", "E", "E", *["*"] * 12]


def test_a_pipeline_of_any_length_is_proved() -> None:
    spec = vlm(
        encoder={"tp": 2, "dp": 2},
        dense={"tp": 2, "dp": 2, "pp": 60_000},
        language=attrs.evolve(GPT, layers=60_000),
        microbatches=100_000,
    )
    assert check(spec) == ()


def late_turn(link: PipelineNeighbour) -> PipelineNeighbour:
    """A stage that receives before it sends, as the one that it talks to."""
    return attrs.evolve(link, both=(link.both[0], link.both[2], link.both[1]))


def without_tensors(link: PipelineNeighbour) -> PipelineNeighbour:
    return attrs.evolve(link, sends=link.sends[:1])


@pytest.mark.parametrize("fault", [late_turn, without_tensors])
@pytest.mark.parametrize("microbatches", [4, 22, 30])
def test_what_is_stuck_when_long_is_stuck_when_short(
    monkeypatch: pytest.MonkeyPatch, fault, microbatches: int
) -> None:
    """A mistake in how odd stages talk to the next one."""
    stage = communication._stage

    def planted(world, grid, rank, step):
        link = stage(world, grid, rank, step)
        odd = grid.base.coordinates(rank)["pp"] % 2
        return fault(link) if odd and step > 0 else link

    monkeypatch.setattr(communication, "_stage", planted)
    spec = pipeline(24, microbatches)
    long, small = (prove_step(small_world(plan(one))) for one in (spec, short(spec)))
    assert long is not None
    assert type(long) is type(small)
