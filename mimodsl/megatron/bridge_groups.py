"""Process groups for the bridges between modules, in place of groups that they make themselves.

Megatron does: a bridge between disjoint grids makes its groups when it is built, and keeps them on
its class by their ranks (pipeline_parallel/bridge_communicator.py,
"cls._broadcast_pg_cache[cache_key] = pg"). A bridge on shared ranks makes one, too
(models/mimo/comm/colocated_communicator.py,
"class ColocatedBridgeCommunicator … dist.new_subgroups_by_enumeration").
All of them are made by every rank of the world, and over NCCL.
Why it hurts: other groups with the same ranks are there already, and each costs memory on a GPU. A
second model in a process gets the groups of the first, which may be gone.
Goes when: bridges take their groups from the caller.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch.distributed as dist
from megatron.core.models.mimo.comm import colocated_communicator
from megatron.core.pipeline_parallel.bridge_communicator import BridgeCommunicator

_BRIDGES: Any = BridgeCommunicator


def offer_broadcast_group(ranks: Iterable[Iterable[int]], group: dist.ProcessGroup | None) -> None:
    """Have bridges use this group where they would make subgroups of these ranks.

    A group of an earlier world is replaced.
    """
    key = str(sorted(tuple(members) for members in ranks))
    _BRIDGES._broadcast_pg_cache[key] = group  # noqa: SLF001


def offer_leader_group(ranks: Iterable[int], group: dist.ProcessGroup | None) -> None:
    """Have bridges use this group where they would make one of these leaders."""
    _BRIDGES._bridge_pg_cache[str(sorted(ranks))] = group  # noqa: SLF001


def forget_bridge_groups() -> None:
    """Drop the groups of all bridges, so that the next world does not get them."""
    _BRIDGES._broadcast_pg_cache.clear()  # noqa: SLF001
    _BRIDGES._bridge_pg_cache.clear()  # noqa: SLF001


@contextmanager
def gather_groups(groups: Iterable[dist.ProcessGroup | None]) -> Generator[None]:
    """Have bridges on shared ranks that are built in the block take these groups, in order."""
    module = cast(Any, colocated_communicator)
    module.dist = _Offered(iter(groups))
    try:
        yield
    finally:
        module.dist = dist


class _Offered:
    """torch.distributed, except that new subgroups are the next groups that are there."""

    def __init__(self, groups: Iterator[dist.ProcessGroup | None]) -> None:
        self._groups = groups

    def new_subgroups_by_enumeration(self, *_: Any, **__: Any) -> tuple[Any, list[Any]]:
        return next(self._groups), []

    def __getattr__(self, name: str) -> Any:
        return getattr(dist, name)
