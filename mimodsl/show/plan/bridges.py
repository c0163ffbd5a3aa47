"""The bridges of a plan: what crosses from the encoder's grid to the language model's, and how."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table

from mimodsl.planner.bridges import BridgePlan, BridgeRole, Direction
from mimodsl.planner.plan import Crossing, Plan, RankPlan
from mimodsl.show import short
from mimodsl.show.json import fields, listed
from mimodsl.show.tables import print_table, table, title


def show(plan: Plan, console: Console) -> None:
    """Print a row for each flow, if there are any."""
    if plan.bridges:
        title(console, "Bridges", "[tokens, width] of a microbatch on each data-parallel replica")
        print_table(console, _bridges(plan))


def _bridges(plan: Plan) -> Table:
    rows = table("flow", "", "dp", "tensors", "leaders")
    for bridge in plan.bridges:
        dp = f"{bridge.source.axis('dp')} → {bridge.destination.axis('dp')}"
        tensors = f"{list(bridge.sent)} → {list(bridge.received)}"
        rows.add_row(_flow(bridge), _direction(bridge), dp, tensors, _leaders(bridge))
    return rows


def _flow(bridge: BridgePlan) -> str:
    return f"{bridge.flow.encoder} → {bridge.flow.language}"


def _direction(bridge: BridgePlan) -> str:
    if bridge.direction is Direction.EQUAL:
        return bridge.direction.value
    return f"{bridge.direction.value} {bridge.scale}"


def _leaders(bridge: BridgePlan, limit: int = 2) -> str:
    """Who sends to whom: `1 3 → 4`, a few of them."""
    if bridge.colocated:
        return "same ranks"
    sends = islice(_sends(bridge), limit)
    left = min(len(bridge.senders), len(bridge.receivers)) - limit
    return ", ".join(sends) + (f", … {left:,} more" if left > 0 else "")


def _sends(bridge: BridgePlan) -> Iterator[str]:
    if len(bridge.senders) < len(bridge.receivers):
        for sender in bridge.senders:
            yield f"{sender} → {short.peers(bridge.peers(sender))}"
    else:
        for receiver in bridge.receivers:
            yield f"{short.peers(bridge.peers(receiver))} → {receiver}"


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:  # noqa: ARG001 - as sections do
    """Print what one rank does at each bridge, if there are any."""
    if rank.crossings:
        title(console, "Bridges")
        print_table(console, _crossings(rank))


def _crossings(rank: RankPlan) -> Table:
    rows = table("flow", "part", "tensor")
    for crossing in rank.crossings:
        bridge = crossing.bridge
        tensor = bridge.sent if rank.rank in bridge.source.ranks else bridge.received
        rows.add_row(_flow(bridge), _part(crossing), str(list(tensor)))
    return rows


def _part(crossing: Crossing) -> str:
    peers = short.peers(crossing.peers)
    match crossing.role:
        case BridgeRole.SENDER:
            return f"sends to {peers}, broadcasts gradients"
        case BridgeRole.RECEIVER:
            return f"receives from {peers}, broadcasts them"
        case BridgeRole.MEMBER:
            if crossing.leader is None:
                return "none: not at the boundary"
            return f"gets what {crossing.leader} broadcasts"


def document(plan: Plan) -> list[dict[str, Any]]:
    """The bridges as plain values."""
    return [
        {
            "name": bridge.name,
            "path": list(bridge.flow.path),
            "source": bridge.source.name,
            "destination": bridge.destination.name,
            **fields(bridge, "colocated", "direction", "scale", "sent", "received"),
        }
        for bridge in plan.bridges
    ]


def rank_document(rank: RankPlan) -> list[dict[str, Any]]:
    """One rank's part in each bridge."""
    return [
        {
            "name": crossing.bridge.name,
            **fields(crossing, "role", "leader"),
            "peers": listed(crossing.peers),
        }
        for crossing in rank.crossings
    ]
