"""The proof and the plan's traffic, written down apart, have ranks call on the same groups."""

import pytest

from mimodsl.checker.proof.schedule import programs
from mimodsl.checker.proof.small_world import small_world
from mimodsl.ir import Spec
from mimodsl.planner.plan import plan
from mimodsl.planner.traffic.step import rank_traffic
from tests.unit.planner.specs import PIPELINE, SHARED, SIDE_BY_SIDE, alone

SPECS = {
    "side by side": SIDE_BY_SIDE,
    "colocated": SHARED,
    "pipeline": PIPELINE,
    "three stages": alone({"tp": 2, "dp": 2, "pp": 3}),
    "two stages": alone({"dp": 2, "pp": 2}),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_rank_calls_on_the_groups_that_its_program_has(spec: Spec) -> None:
    planned = plan(spec)
    proved = programs(small_world(planned, range(spec.world)))
    for rank in range(spec.world):
        members = {name.name: set(own) for name, own in planned.rank(rank).groups}
        members["world"] = set(range(spec.world))
        called = {frozenset(members[one.group]) for one in rank_traffic(planned, rank).groups}
        operations = (one for action in proved[rank] for one in action.operations)
        in_program = {frozenset(one.group.members) for one in operations}
        assert called == {group for group in in_program if len(group) > 1}
