"""Megatron-Core's bridges, given groups that are there already in place of those they would make.

megatron-core 0.19.2 has both kinds of bridges make their own, for names that other groups serve as
well, with all ranks of the world, and over NCCL whatever the world runs over.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch.distributed as dist
from megatron.core.models.mimo.comm import colocated_communicator
from megatron.core.pipeline_parallel.bridge_communicator import BridgeCommunicator

from mimodsl.builder.groups import Groups
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan


def give_to_bridges(planned: Plan, groups: Groups) -> None:
    """Have bridges between disjoint grids find their groups made when they are built.

    They look for them on their class, by their ranks (bridge_communicator.py:193). What an earlier
    world has left there is replaced.
    """
    bridges: Any = BridgeCommunicator
    for group in planned.groups():
        if group.kind in (GroupKind.SENDERS, GroupKind.RECEIVERS):
            key = str(sorted(tuple(members) for members in group))
            bridges._broadcast_pg_cache[key] = groups[group.name]  # noqa: SLF001
        elif group.kind is GroupKind.LEADERS:
            key = str(sorted(next(iter(group))))
            bridges._bridge_pg_cache[key] = groups[group.name]  # noqa: SLF001


@contextmanager
def given_to_gathers(planned: Plan, groups: Groups) -> Generator[None]:
    """Have bridges on the same ranks take their groups when a model is built within the block.

    They make one as they are constructed and take none (comm/colocated_communicator.py:92). Models
    build them in the order of the flows.
    """
    module = cast(Any, colocated_communicator)
    gathers = [group for group in planned.groups() if group.kind is GroupKind.GATHER]
    module.dist = _Given(groups[group.name] for group in gathers)
    try:
        yield
    finally:
        module.dist = dist


class _Given:
    """torch.distributed, but that new subgroups are those given, one after the other."""

    def __init__(self, groups: Iterator[dist.ProcessGroup | None]) -> None:
        self._groups = groups

    def new_subgroups_by_enumeration(self, *_: Any, **__: Any) -> tuple[Any, list[Any]]:
        return next(self._groups), []

    def __getattr__(self, name: str) -> Any:
        return getattr(dist, name)
