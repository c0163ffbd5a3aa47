"""The groups of a plan's bridges, given to megatron-core before it builds the bridges."""

from contextlib import AbstractContextManager

from mimodsl.builder.groups import Groups
from mimodsl.megatron.bridge_groups import (
    gather_groups,
    offer_broadcast_group,
    offer_leader_group,
)
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan


def give_to_bridges(planned: Plan, groups: Groups) -> None:
    """Give bridges between disjoint grids their groups, before they are built."""
    for group in planned.groups():
        if group.kind in (GroupKind.SENDERS, GroupKind.RECEIVERS):
            offer_broadcast_group(group, groups[group.name])
        elif group.kind is GroupKind.LEADERS:
            offer_leader_group(next(iter(group)), groups[group.name])


def given_to_gathers(planned: Plan, groups: Groups) -> AbstractContextManager[None]:
    """Give bridges on shared ranks their groups, when a model is built within the block.

    Models build these bridges in the order of the flows.
    """
    gathers = [group for group in planned.groups() if group.kind is GroupKind.GATHER]
    return gather_groups(groups[group.name] for group in gathers)
