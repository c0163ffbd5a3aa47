"""Small worlds of CPU ranks, forked from the test's own process once it has loaded Megatron."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch.distributed import distributed_c10d

from mimodsl.ir import Spec
from mimodsl.plan import plan
from mimodsl.runtime.errors import RankFailed
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.train import groups_joined
from mimodsl.runtime.workers import Watch

__all__ = ["RankFailed", "assert_as_planned", "groups_made", "run"]

type GroupsMade = tuple[int, Counter[tuple[int, ...]]]
"""How many process groups a rank took part in making, and the members of those it is in."""


def run(world: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `target(*args)` on every rank of a gloo world; its results by rank.

    Raises `RankFailed` with the first rank that fails, and leaves no process behind.
    """
    return list(run_ranks(world, lambda _: target(*args), watch=Watch(timeout=120)))


def groups_made() -> GroupsMade:
    """Every process group that torch knows of on this rank, whoever made it."""
    return distributed_c10d._world.group_count, Counter(group.ranks for group in groups_joined())


def assert_as_planned(spec: Spec, ranks: Sequence[GroupsMade]) -> None:
    """Each group was made by a grid, a bridge or for embeddings, by all ranks, and no other.

    The one group besides is the world that the launcher made.
    """
    planned = tuple(plan(spec).groups())
    total = sum(group.count for group in planned)
    for rank, (count, members) in enumerate(ranks):
        own = (group.of(rank) for group in planned)
        expected = Counter(tuple(group) for group in own if group is not None)
        assert members == expected + Counter([tuple(range(spec.world))])
        assert count == total + 1
