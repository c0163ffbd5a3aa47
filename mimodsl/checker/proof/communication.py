"""What each call of megatron-core's pipeline communicator does on one rank.

Mirrors `MultiModulePipelineCommunicator` of megatron-core with `variable_seq_lengths` (every
tensor goes after its shape) and without `batch_p2p_comm`, as the builder sets them.
"""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.checker.proof.program import (
    Collective,
    Exchange,
    Message,
    Operation,
    ProcessGroup,
)
from mimodsl.checker.proof.small_world import SmallWorld
from mimodsl.ir.axes import PP
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind


@frozen(kw_only=True, eq=False)
class PipelineNeighbour:
    """What a rank does to talk to one neighbour in the pipeline, over a stage or a bridge.

    `sends` and `receives` are calls in one direction; `both` is a call that sends and receives.
    """

    sends: tuple[Operation, ...]
    receives: tuple[Operation, ...]
    both: tuple[Operation, ...]


@frozen(kw_only=True, eq=False)
class PipelineNeighbours:
    """The neighbours of a rank: before it and after it in the model."""

    before: tuple[PipelineNeighbour, ...]
    after: tuple[PipelineNeighbour, ...]


def neighbours(
    world: SmallWorld, grid: GridPlan, rank: int, bridges: tuple[BridgePlan, ...]
) -> PipelineNeighbours:
    """The neighbours of a rank: bridges at the ends of its pipeline, stages elsewhere.

    `bridges` are in the order of the flows, in which megatron-core visits them.
    """
    stage, last = grid.base.coordinates(rank)[PP], grid.axis(PP) - 1
    incoming = [bridge for bridge in bridges if bridge.destination is grid]
    outgoing = [bridge for bridge in bridges if bridge.source is grid]
    return PipelineNeighbours(
        before=tuple(_bridge(world, bridge, grid, rank) for bridge in incoming)
        if stage == 0
        else (_stage(world, grid, rank, -1),),
        after=tuple(_bridge(world, bridge, grid, rank) for bridge in outgoing)
        if stage == last
        else (_stage(world, grid, rank, +1),),
    )


def _stage(world: SmallWorld, grid: GridPlan, rank: int, step: int) -> PipelineNeighbour:
    """P2PCommunicator._communicate: shapes in one batch, then tensors one by one."""
    coordinates = grid.base.coordinates(rank)
    stage = coordinates[PP]
    peer = grid.base.rank({**coordinates, PP: stage + step})
    group = world.along(grid, (PP,))[rank]
    # With two stages, one direction uses the world's group (pipeline_parallel/p2p_communication.py,
    # "even_recv_odd_send_group = torch").
    other = world.everyone if grid.axis(PP) == 2 else group
    even = stage % 2 == 0
    outgoing, incoming = Message(peer, sends=True), Message(peer, sends=False)
    send = Exchange(group if even else other, (outgoing,), batched=False)
    receive = Exchange(other if even else group, (incoming,), batched=False)
    order = (send, receive) if step > 0 else (receive, send)
    return PipelineNeighbour(
        sends=(Exchange(group, (outgoing,)), send),
        receives=(Exchange(group, (incoming,)), receive),
        both=(Exchange(group, (outgoing, incoming)), *order),
    )


def _bridge(world: SmallWorld, bridge: BridgePlan, grid: GridPlan, rank: int) -> PipelineNeighbour:
    """BridgeCommunicator: leaders exchange data, then broadcast it within their replica."""
    side = GroupKind.RECEIVERS if bridge.destination is grid else GroupKind.SENDERS
    broadcasts = tuple(_broadcasts(world.boundary(grid, side)[rank]))
    leaders = world.leaders[bridge.name]
    if rank not in leaders.peers:
        return PipelineNeighbour(sends=(), receives=broadcasts, both=broadcasts)
    group, peers = leaders.group, leaders.peers[rank]
    outgoing = [Message(peer, sends=True) for peer in peers]
    incoming = [Message(peer, sends=False) for peer in peers]
    exchange = Exchange(group, (*outgoing, *incoming))
    return PipelineNeighbour(
        sends=(Exchange(group, tuple(outgoing)), *_one_by_one(group, outgoing)),
        receives=(
            Exchange(group, tuple(incoming)),
            *_one_by_one(group, incoming),
            *broadcasts,
        ),
        both=(exchange, exchange, *broadcasts),
    )


def _one_by_one(group: ProcessGroup, messages: list[Message]) -> Iterator[Operation]:
    return (Exchange(group, (message,), batched=False) for message in messages)


def _broadcasts(group: ProcessGroup) -> Iterator[Operation]:
    """A broadcast of the shape, then of the tensor."""
    if len(group.members) > 1:
        yield from (Collective(group), Collective(group))
