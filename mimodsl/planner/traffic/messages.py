"""Messages between pipeline stages and over bridges in one microbatch, forward and back."""

from collections.abc import Iterator, Mapping

from mimodsl.ir.axes import PP
from mimodsl.planner.bridges import BridgePlan, Direction, bridge_groups
from mimodsl.planner.calls import WORLD, Call, CallGroup, CallKind, Purpose
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan

_DIMENSION = 8
"""Bytes of one dimension of a shape, an int64. The shape of each tensor is sent before the tensor
(pipeline_parallel/p2p_communication.py, "def _communicate_shapes";
pipeline_parallel/bridge_communicator.py, "def _communicate_shapes")."""


def stage_calls(grid: GridPlan, rank: int, world: int, size: int) -> Iterator[Call]:
    """Activations of `size` bytes `[s, b, h]` to the next stage, and their gradients to the stage
    before.

    In a pipeline of two stages, backward messages go over the world
    (pipeline_parallel/p2p_communication.py, "even_recv_odd_send_group = torch").
    """
    stage, stages = grid.base.coordinates(rank)[PP], grid.axis(PP)
    pipeline = CallGroup(name=f"{grid.name}.pp", members=stages, purpose=Purpose.PIPELINE)
    world_group = CallGroup(name=WORLD, members=world, purpose=Purpose.PIPELINE)
    other = world_group if stages == 2 else pipeline
    sends, receives = (pipeline, other) if stage % 2 == 0 else (other, pipeline)
    neighbours = (stage > 0) + (stage < stages - 1)
    for group, kind in ((sends, CallKind.SEND), (receives, CallKind.RECEIVE)):
        if neighbours:
            yield Call(group=pipeline, kind=kind, size=3 * _DIMENSION, times=neighbours)
            yield Call(group=group, kind=kind, size=size, times=neighbours)


def bridge_calls(
    bridge: BridgePlan, rank: int, groups: Mapping[GroupKind, CallGroup], element: int
) -> Iterator[Call]:
    """A rank's calls for one microbatch's embeddings over a bridge between disjoint grids, and for
    the gradients back."""
    for grid, (tokens, width), side in (
        (bridge.source, bridge.sent, GroupKind.SENDERS),
        (bridge.destination, bridge.received, GroupKind.RECEIVERS),
    ):
        if rank in grid.ranks and bridge.leader(rank) is not None:
            size = tokens * width * element
            yield from _peer_calls(bridge, rank, groups[GroupKind.LEADERS], size)
            if groups[side].members > 1:
                for message in (2 * _DIMENSION, size):
                    yield Call(group=groups[side], kind=CallKind.BROADCAST, size=message)


def _peer_calls(bridge: BridgePlan, rank: int, group: CallGroup, size: int) -> Iterator[Call]:
    """A leader sends to its peers and receives from them; several peers split the tensor."""
    peers = len(bridge.peers(rank))
    for kind in (CallKind.SEND, CallKind.RECEIVE) if peers else ():
        yield Call(group=group, kind=kind, size=2 * _DIMENSION, times=peers)
        yield Call(group=group, kind=kind, size=size // peers, times=peers)


def gather_calls(
    bridge: BridgePlan, groups: Mapping[GroupKind, CallGroup], element: int
) -> Iterator[Call]:
    """The calls of a bridge between grids on the same ranks.

    One direction gathers; the other takes a part of what the rank has, and sends nothing
    (models/mimo/comm/colocated_communicator.py, "def forward … BridgeDirection.FAN_IN"). Fan-in
    gathers embeddings. Fan-out gathers gradients, if the bridge carries any.
    """
    group, fan_in = groups.get(GroupKind.GATHER), bridge.direction is Direction.FAN_IN
    if group is not None and (fan_in or bridge.carries_gradients):
        tokens, width = bridge.received if fan_in else bridge.sent
        yield Call(group=group, kind=CallKind.ALL_GATHER, size=tokens * width * element)


def bridge_call_groups(planned: Plan, bridge: BridgePlan) -> dict[GroupKind, CallGroup]:
    """The groups of a bridge by their kind. Several bridges may share a group, which has the name
    that the first of them gives it."""
    names = {
        (group.joined, group.partition): group.name for group in bridge_groups(planned.bridges)
    }
    return {
        group.kind: CallGroup(
            name=names[group.joined, group.partition], members=group.size, purpose=Purpose.BRIDGE
        )
        for group in bridge_groups((bridge,))
    }
