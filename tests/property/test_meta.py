"""One rank of every role stands for the whole world: what is built of random specs."""

from collections.abc import Iterator
from random import Random

import pytest
import torch.distributed as dist

from mimodsl.builder.assembly import Assembly
from mimodsl.checker.runner import check
from mimodsl.megatron import meta_device
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan, plan
from mimodsl.runtime import meta
from mimodsl.runtime.train import joined_communicators, parameters
from tests.differential.specs import sound_spec

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

SPECS = 40
THEIR_AXES = {"etp": "expt_tp", "edp": "expt_dp"}
"""Axes under the names that megatron-core's optimizer asks for."""


@pytest.fixture(scope="module")
def _active() -> Iterator[None]:
    with meta_device.activate():
        yield


@pytest.mark.usefixtures("_active")
def test_any_rank_builds_what_its_role_does_in_the_groups_of_the_plan() -> None:
    tried = 0
    for seed in range(SPECS):
        rng = Random(f"any rank {seed}")
        spec = sound_spec(rng)
        if any(diagnostic.is_error for diagnostic in check(spec)):
            continue
        layout, tried = plan(spec), tried + 1
        rank, at = rng.randrange(spec.world), f"seed {seed}\n{spec}"
        with meta.built(spec, rank) as assembly:
            counts, world, *made = parameters(assembly), *joined_communicators()
            along = axis_groups(assembly, layout, rank)
        (role,) = [stages for stages in layout.alike() if any(rank in ranks for ranks in stages)]
        assert counts == meta.built_parameters(spec, role[0][0]), at
        assert world.ranks == tuple(range(spec.world))
        planned = {group.name: tuple(own) for group, own in layout.rank(rank).groups}
        assert {group.ranks for group in made} == set(planned.values()), at
        assert along
        assert along.items() <= planned.items(), at
    assert tried > SPECS / 2


def axis_groups(assembly: Assembly, layout: Plan, rank: int) -> dict[str, tuple[int, ...]]:
    """What the built grids give for every set of axes that the plan has a group for, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for group, _ in layout.rank(rank).groups:
        if group.kind is GroupKind.AXES:
            axes = [THEIR_AXES.get(axis, axis) for axis in group.axes]
            made = assembly.grids[group.grid].get_pg(axes, view=group.view)
            found[group.name] = tuple(dist.get_process_group_ranks(made))
    return found
