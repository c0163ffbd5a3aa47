"""Samples on shared ranks: the rule against the plan, which says what every rank works on."""

from itertools import product

import attrs
import pytest

from mimodsl.checker.rules import rule_of
from mimodsl.checker.runner import check
from mimodsl.diagnostics import Severity
from mimodsl.ir import Attention, Gpt, Grid, Schedule, Spec, Together
from mimodsl.planner.plan import plan
from tests.unit.checker.test_python_specs import VLM

WORLD = 8
VIEWS = [
    dict(axes)
    for dp in (1, 2, 4, 8)
    for axes in ([("tp", WORLD // dp), ("dp", dp)], [("dp", dp), ("tp", WORLD // dp)])
]
WIDE = Gpt(layers=2, hidden=64, vocabulary=512, attention=Attention(heads=8))


def colocated(encoder: dict[str, int], llm: dict[str, int]) -> Spec:
    vision, projector, language = VLM.modules
    return attrs.evolve(
        VLM,
        grids=[
            Grid(name="encoder", views={"dense": encoder}),
            Grid(name="llm", views={"dense": llm}),
        ],
        place=Together(parts=("encoder", "llm")),
        modules=[
            attrs.evolve(vision, kind=attrs.evolve(vision.kind, heads=8)),
            projector,
            attrs.evolve(language, kind=WIDE),
        ],
        schedule=Schedule(kind="1f1b", sequence=64, micro_batch=8),
    )


def nested(one: range, other: range) -> bool:
    """Whether one of two slices of a batch lies within the other."""
    small, large = sorted((one, other), key=len)
    return large.start <= small.start and small.stop <= large.stop


@pytest.mark.parametrize(("encoder", "llm"), list(product(VIEWS, VIEWS)), ids=str)
def test_a_rank_encodes_samples_of_its_own_language_model(
    encoder: dict[str, int], llm: dict[str, int]
) -> None:
    spec = colocated(encoder, llm)
    errors = {one.code for one in check(spec) if one.severity is Severity.ERROR}
    assert errors <= {"MIMO626"}
    modules = [plan(spec).rank(rank).modules for rank in range(WORLD)]
    samples = [{role.name: role.samples(0) for role in roles} for roles in modules]
    aligned = all(nested(each["vision"], each["language"]) for each in samples)
    assert aligned == (not errors)


def test_the_help_makes_the_samples_align() -> None:
    rule = rule_of("MIMO626")
    assert rule is not None
    (found,) = check(colocated({"dp": 4, "tp": 2}, {"tp": 2, "dp": 4}), [rule])
    assert found.help == ("make dp the slowest axis: `dense = tp:2 * dp:4` in `encoder`",)
    assert check(colocated({"tp": 2, "dp": 4}, {"tp": 2, "dp": 4}), [rule]) == ()
