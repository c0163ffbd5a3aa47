"""One rank of every role stands for the whole world: what is built of random specs."""

from collections.abc import Iterator
from random import Random

import pytest

from mimodsl.check import check
from mimodsl.plan import plan
from mimodsl.runtime import meta
from mimodsl.runtime.train import groups_joined, parameters
from tests.differential.specs import sound_spec

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

SPECS = 40


@pytest.fixture(scope="module")
def _active() -> Iterator[None]:
    with meta.activate():
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
        rank = rng.randrange(spec.world)
        with meta.built(spec, rank) as assembly:
            counts, groups = parameters(assembly), groups_joined()
        (role,) = [stages for stages in layout.alike() if any(rank in ranks for ranks in stages)]
        assert counts == meta.built_parameters(spec, role[0][0]), f"seed {seed}, rank {rank}"
        planned = {group.name: tuple(own) for group, own in layout.rank(rank).groups}
        world, *made = groups
        assert world.ranks == tuple(range(spec.world))
        assert {group.ranks for group in made} == set(planned.values()), f"seed {seed}, {rank}"
        for group in made:
            assert planned.get(group.name, group.ranks) == group.ranks, f"seed {seed}, {rank}"
    assert tried > SPECS / 2
