"""Small worlds of CPU ranks, forked from the test's own process once it has loaded Megatron."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch.distributed import distributed_c10d

from mimodsl.ir import Spec
from mimodsl.planner.plan import plan
from mimodsl.planner.sharing import SHARE, communicators
from mimodsl.runtime.errors import RankFailed
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.train import joined_communicators

__all__ = ["RankFailed", "assert_as_planned", "groups_made", "run"]

type GroupsMade = tuple[int, Counter[tuple[tuple[int, ...], tuple[str, ...]]]]
"""The number that a rank's next process group is named by; members and names of those it is in."""

WORLD = ("default_pg",)
"""What torch calls the world."""


def run(world: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `target(*args)` on every rank of a gloo world; its results by rank.

    Raises `RankFailed` with the first rank that fails, and leaves no process behind.
    """
    return list(run_ranks(world, lambda _: target(*args)))


def groups_made() -> GroupsMade:
    """Every process group that torch knows of on this rank, whoever made it."""
    joined = Counter((group.ranks, group.names) for group in joined_communicators())
    return distributed_c10d._world.group_count, joined


def assert_as_planned(spec: Spec, ranks: Sequence[GroupsMade], *, share: bool = SHARE) -> None:
    """Each rank is in the planned communicators, under their names, and in no other group.

    The one group besides is the world that the launcher made. All ranks would give the next group
    the same name.
    """
    every = communicators(plan(spec), share=share)
    total = sum(one.count for one in every)
    for rank, (count, made) in enumerate(ranks):
        own = ((one.of(rank), one.carries(rank)) for one in every)
        expected = Counter((tuple(members), names) for members, names in own if members is not None)
        assert made == expected + Counter([(tuple(range(spec.world)), WORLD)])
        assert count == total + 1
