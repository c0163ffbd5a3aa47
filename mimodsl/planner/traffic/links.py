"""Messages between pipeline stages and over bridges in one microbatch, forward and back."""

from collections.abc import Iterator, Mapping

from mimodsl.planner.bridges import BridgePlan, Direction, bridge_groups
from mimodsl.planner.calls import WORLD, Call, CallGroup, CallKind, Purpose
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan

_DIMENSION = 8
"""Bytes of one dimension of a shape, an int64: each tensor goes after its shape
(pipeline_parallel/p2p_communication.py:225, bridge_communicator.py:716)."""


def stage_calls(grid: GridPlan, rank: int, world: int, size: int) -> Iterator[Call]:
    """Activations of `size` bytes `[s, b, h]` to the next stage, and their gradients to the last.

    Of two stages, what goes backward goes over the world (p2p_communication.py:75).
    """
    stage, stages = grid.base.coordinates(rank)["pp"], grid.axis("pp")
    pipeline = CallGroup(name=f"{grid.name}.pp", members=stages, purpose=Purpose.PIPELINE)
    other = (
        CallGroup(name=WORLD, members=world, purpose=Purpose.PIPELINE) if stages == 2 else pipeline
    )
    even = stage % 2 == 0
    sends, receives = (pipeline, other) if even else (other, pipeline)
    neighbours = (stage > 0) + (stage < stages - 1)
    for group, kind in ((sends, CallKind.SEND), (receives, CallKind.RECEIVE)):
        if neighbours:
            yield Call(group=pipeline, kind=kind, size=3 * _DIMENSION, times=neighbours)
            yield Call(group=group, kind=kind, size=size, times=neighbours)


def bridge_calls(
    bridge: BridgePlan, rank: int, groups: Mapping[GroupKind, CallGroup], element: int
) -> Iterator[Call]:
    """A rank's part in carrying one microbatch's embeddings over a bridge between disjoint grids,
    and their gradients back."""
    for grid, (tokens, width), side in (
        (bridge.source, bridge.sent, GroupKind.SENDERS),
        (bridge.destination, bridge.received, GroupKind.RECEIVERS),
    ):
        if rank in grid.ranks and bridge.leader(rank) is not None:
            size = tokens * width * element
            yield from _exchanged(bridge, rank, groups[GroupKind.LEADERS], size)
            if groups[side].members > 1:
                for each in (2 * _DIMENSION, size):
                    yield Call(group=groups[side], kind=CallKind.BROADCAST, size=each)


def _exchanged(bridge: BridgePlan, rank: int, group: CallGroup, size: int) -> Iterator[Call]:
    """Leaders send to their peers, and hear of them; several share what one deals with."""
    peers = len(bridge.peers(rank))
    for kind in (CallKind.SEND, CallKind.RECEIVE) if peers else ():
        yield Call(group=group, kind=kind, size=2 * _DIMENSION, times=peers)
        yield Call(group=group, kind=kind, size=size // peers, times=peers)


def gather_calls(
    bridge: BridgePlan, groups: Mapping[GroupKind, CallGroup], element: int, *, back: bool
) -> Iterator[Call]:
    """The same on one set of ranks: one way gathers, the other cuts out and sends nothing
    (models/mimo/comm/colocated_communicator.py:272).

    Fan-in gathers embeddings, fan-out gradients, where there are any to go `back`.
    """
    group, fan_in = groups.get(GroupKind.GATHER), bridge.direction is Direction.FAN_IN
    if group is not None and (fan_in or back):
        tokens, width = bridge.received if fan_in else bridge.sent
        yield Call(group=group, kind=CallKind.ALL_GATHER, size=tokens * width * element)


def bridge_call_groups(planned: Plan, bridge: BridgePlan) -> dict[GroupKind, CallGroup]:
    """The groups of a bridge, by what they are for. Several bridges may share one, under the name
    of the first of them."""
    made = {(group.joined, group.partition): group.name for group in bridge_groups(planned.bridges)}
    return {
        group.kind: CallGroup(
            name=made[group.joined, group.partition], members=group.size, purpose=Purpose.BRIDGE
        )
        for group in bridge_groups((bridge,))
    }
