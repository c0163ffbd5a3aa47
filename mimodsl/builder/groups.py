"""A plan's process groups on this rank, each made by its members and for all names it serves.

megatron-core makes one for every name (hyper_comm_grid.py,
"pg, _ = dist.new_subgroups_by_enumeration"), and every rank goes through every group of the world,
whether it is in it or not.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch.distributed as dist
from torch.distributed import distributed_c10d

from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Members
from mimodsl.planner.sharing import CommunicatorPlan, communicators

type Groups = Mapping[str, dist.ProcessGroup | None]
"""This rank's process groups by the names of the plan; `None` where it is in none of that name."""


def make_groups(planned: Plan, *, share: bool) -> Groups:
    """Make every process group of a plan that this rank is in.

    Where names `share`, it is as `mimodsl.planner.sharing` says; else each has a group of its
    own. All ranks of the world call this. They go through one list, each over its own groups:
    of those that are begun, the first in the list has all its members on their way, so that no
    circle of waits can form. A group's description has all its names.
    """
    rank = dist.get_rank()
    every = communicators(planned, share=share)
    groups: dict[str, dist.ProcessGroup | None] = {
        name.name: None for one in every for name in one.names
    }
    first = _next_name()
    for place, members, names in _to_make(every, rank):
        _name_next(first + place)
        made = cast(Any, dist).new_group(list(members), group_desc=" ".join(names))
        if rank in members:
            groups |= dict.fromkeys(names, made)
    _name_next(first + sum(one.count for one in every))
    return groups


def _to_make(
    every: Iterable[CommunicatorPlan], rank: int
) -> Iterator[tuple[int, Members, tuple[str, ...]]]:
    """The groups that a rank has to make, in order: place in the list, members and names."""
    for one in every:
        if _takes_all_ranks():
            for place, members in enumerate(one.made, start=one.first):
                yield place, members, one.carries(members.start)
        elif (members := one.of(rank)) is not None and (place := one.place(rank)) is not None:
            yield place, members, one.carries(rank)


def _takes_all_ranks() -> bool:
    """Whether torch makes a group with the help of ranks outside it.

    It does so where the world is bound to a device, whose communicator all its ranks split (torch
    2.11, torch/distributed/distributed_c10d.py, "if is_initialized() and _get_default_group()"),
    or where it is told to wait for all of them.
    """
    world: Any = dist.group.WORLD
    return world.bound_device_id is not None or os.environ.get("TORCH_DIST_INIT_BARRIER") == "1"


def _next_name() -> int:
    return _registry().group_count


def _name_next(number: int) -> None:
    """Have torch 2.11 call the next group by a number that its members agree on.

    It counts the groups that a process has made, so that only ranks that make all of them agree. In
    its own way for members alone, `use_local_synchronization`, a name holds how many groups the
    process is in: ranks in unequally many wait for each other for ever (pytorch issue 173608).
    """
    _registry().group_count = number


def _registry() -> Any:
    return distributed_c10d._world  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
