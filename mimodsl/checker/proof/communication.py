"""What each call of megatron-core's pipeline communicator does on one rank: bridges and stages.

Mirrors `MultiModulePipelineCommunicator` of megatron-core 0.19.2 with `variable_seq_lengths` (every
tensor goes after its shape) and without `batch_p2p_comm`, as the builder sets them.
"""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.checker.proof.cut import Cut
from mimodsl.checker.proof.program import Collective, Exchange, Group, Message, Operation
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind


@frozen(kw_only=True)
class Link:
    """One neighbour of a rank in the pipeline, a stage or a bridge: how it talks to it.

    `alone` is to send or to receive only; `both` is to send to it and receive from it in one call.
    """

    sends: tuple[Operation, ...]
    receives: tuple[Operation, ...]
    both: tuple[Operation, ...]


@frozen(kw_only=True)
class Links:
    """The links of a rank: to what comes before it in the model, and to what comes after it."""

    before: tuple[Link, ...]
    after: tuple[Link, ...]


def links(cut: Cut, grid: GridPlan, rank: int, bridges: tuple[BridgePlan, ...]) -> Links:
    """A rank's links: bridges at the ends of its pipeline, stages of its grid elsewhere.

    `bridges` are in the order of the flows, in which megatron-core goes through them.
    """
    stage, last = grid.base.coordinates(rank)["pp"], grid.axis("pp") - 1
    into = [one for one in bridges if one.destination is grid]
    out_of = [one for one in bridges if one.source is grid]
    return Links(
        before=tuple(_bridge(cut, one, grid, rank) for one in into)
        if stage == 0
        else (_stage(cut, grid, rank, -1),),
        after=tuple(_bridge(cut, one, grid, rank) for one in out_of)
        if stage == last
        else (_stage(cut, grid, rank, +1),),
    )


def _stage(cut: Cut, grid: GridPlan, rank: int, step: int) -> Link:
    """P2PCommunicator._communicate: shapes in one batch, then tensors one by one."""
    at = grid.base.coordinates(rank)
    peer = grid.base.rank({**at, "pp": at["pp"] + step})
    group = cut.along(grid, ("pp",))[rank]
    # Of two stages, one direction goes over the world (p2p_communication.py:75).
    other = cut.world if grid.axis("pp") == 2 else group
    even = at["pp"] % 2 == 0
    out, into = Message(peer, sends=True), Message(peer, sends=False)
    send = Exchange(group if even else other, (out,), batched=False)
    receive = Exchange(other if even else group, (into,), batched=False)
    order = (send, receive) if step > 0 else (receive, send)
    return Link(
        sends=(Exchange(group, (out,)), send),
        receives=(Exchange(group, (into,)), receive),
        both=(Exchange(group, (out, into)), *order),
    )


def _bridge(cut: Cut, bridge: BridgePlan, grid: GridPlan, rank: int) -> Link:
    """BridgeCommunicator: leaders exchange, then broadcast what they got within their replica."""
    side = GroupKind.RECEIVERS if bridge.destination is grid else GroupKind.SENDERS
    spread = tuple(_broadcasts(cut.boundary(grid, side)[rank]))
    meeting = cut.meetings[bridge.name]
    if rank not in meeting.peers:
        return Link(sends=(), receives=spread, both=spread)
    group, peers = meeting.group, meeting.peers[rank]
    out = [Message(peer, sends=True) for peer in peers]
    into = [Message(peer, sends=False) for peer in peers]
    whole = Exchange(group, (*out, *into))
    return Link(
        sends=(Exchange(group, tuple(out)), *_one_by_one(group, out)),
        receives=(Exchange(group, tuple(into)), *_one_by_one(group, into), *spread),
        both=(whole, whole, *spread),
    )


def _one_by_one(group: Group, messages: list[Message]) -> Iterator[Operation]:
    return (Exchange(group, (message,), batched=False) for message in messages)


def _broadcasts(group: Group) -> Iterator[Operation]:
    """The shape, then the tensor."""
    if len(group.members) > 1:
        yield from (Collective(group), Collective(group))
