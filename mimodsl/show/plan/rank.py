"""The plan of one rank: its modules, coordinates, groups, bridges and the order of its passes."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.bridges import BridgeRole
from mimodsl.planner.plan import Crossing, Plan, RankPlan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.sharing import CommunicatorPlan, communicators
from mimodsl.show.plan import text
from mimodsl.show.plan.memory import print_rank_memory
from mimodsl.show.plan.tables import joined, print_table, table, title, width
from mimodsl.show.plan.work import print_rank_work


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:
    """Print everything about one rank."""
    schedule = rank.schedule
    where = f"stage {schedule.stage}/{schedule.stages}"
    title(console, f"Rank {rank.rank:,}", f"world of {plan.world:,}", plan.layout.value, where)
    print_table(console, _modules(rank, width(console) - 60))
    title(console, "Coordinates")
    print_table(console, _coordinates(plan, rank))
    own = [one for one in communicators(plan) if one.of(rank.rank) is not None]
    number = text.count(len(own), "communicator")
    title(console, "Groups", f"{number}, {len(rank.groups)} unshared")
    print_table(console, _groups(own, rank.rank, width(console)))
    if rank.crossings:
        title(console, "Bridges")
        print_table(console, _crossings(rank))
    title(console, "Order", f"{schedule.warmup} warm-up", f"{schedule.in_flight} in flight at most")
    console.print(Text(f"  {schedule.text((width(console) - 4) // 4)}"))
    print_rank_work(plan, rank, console)
    print_rank_memory(plan, rank, console)
    console.print()


def _modules(rank: RankPlan, width: int) -> Table:
    rows = table("module", "kind", "grid", "pp", "dp", "layers", "experts", "samples")
    for role in rank.modules:
        rows.add_row(
            Text(role.name, style="bold"),
            role.module.kind.keyword + (", frozen" if role.module.frozen else ""),
            role.module.grid,
            f"{role.stage}/{role.stages}",
            f"{role.replica}/{role.replicas}",
            text.layers(role, symbols=width) or "–",
            text.span(role.experts),
            _samples(role),
        )
    return rows


def _samples(role: ModuleRole) -> str:
    """Those of the first two microbatches, which show the step between them."""
    return f"{text.span(role.samples(0))}, {text.span(role.samples(1))} …"


def _coordinates(plan: Plan, rank: RankPlan) -> Table:
    rows = table("", "", "")
    for grid, views in rank.coordinates.items():
        names = {"base": plan.spec.grid(grid).base.name}
        for view, at in views.items():
            place = " · ".join(f"{axis} {index}" for axis, index in at.items())
            rows.add_row(grid, Text(names.get(view, view), style="dim"), place)
    return rows


def _groups(own: list[CommunicatorPlan], rank: int, room: int) -> Table:
    rows = table("name", "of>", "members")
    rows.columns[0].width = names = room // 2
    for one in own:
        members = one.of(rank)
        assert members is not None
        size = f"{len(members):,}"
        here = [group for group in one.names if group.of(rank) is not None]
        rows.add_row(joined(here), size, text.members(members, room - names - len(size) - 6))
    return rows


def _crossings(rank: RankPlan) -> Table:
    rows = table("flow", "part", "tensor")
    for crossing in rank.crossings:
        bridge = crossing.bridge
        tensor = bridge.sent if rank.rank in bridge.source.ranks else bridge.received
        flow = f"{bridge.flow.encoder} → {bridge.flow.language}"
        rows.add_row(flow, _part(crossing), str(list(tensor)))
    return rows


def _part(crossing: Crossing) -> str:
    peers = text.peers(crossing.peers)
    match crossing.role:
        case BridgeRole.SENDER:
            return f"sends to {peers}, broadcasts gradients"
        case BridgeRole.RECEIVER:
            return f"receives from {peers}, broadcasts them"
        case BridgeRole.MEMBER:
            if crossing.leader is None:
                return "none: not at the boundary"
            return f"gets what {crossing.leader} broadcasts"
