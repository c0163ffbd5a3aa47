"""The plan of the whole world: pictures of its grids, then ranks, groups, bridges and schedule."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES
from mimodsl.planner.bridges import BridgePlan, Direction
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.sharing import CommunicatorPlan, communicators, most
from mimodsl.show.plan import text
from mimodsl.show.plan.memory import print_memory
from mimodsl.show.plan.picture import draw
from mimodsl.show.plan.tables import joined, print_table, table, title, width
from mimodsl.show.plan.timeline import timelines
from mimodsl.show.plan.work import print_work

_ALL: Final = 16
"""As many ranks have a row each; of more, only the first and the last of every span."""


def show_world(plan: Plan, console: Console) -> None:
    """Print everything about a plan, wide worlds in part."""
    _grids(plan, console)
    title(console, "Ranks", "samples of the first microbatch")
    print_table(console, _ranks(plan))
    summary = plan.summary()
    every = communicators(plan)
    title(
        console,
        "Groups",
        f"{summary.group_names} names",
        f"{sum(one.count for one in every):,} communicators, {summary.groups:,} unshared",
        f"up to {most(plan)} a rank, {most(plan, share=False)} unshared",
    )
    print_table(console, _groups(plan, every, width(console) - 2))
    _print_implied(plan, console)
    if plan.bridges:
        title(console, "Bridges", "[tokens, width] of a microbatch on each data-parallel replica")
        print_table(console, _bridges(plan))
    title(
        console,
        "Schedule",
        f"{plan.spec.schedule.kind}",
        text.count(summary.microbatches, "microbatch", "es"),
        f"ideal bubble {summary.bubble:.0%}",
    )
    print_table(console, timelines(plan, width(console)))
    print_work(plan, console)
    print_memory(plan, console)
    console.print()


def _grids(plan: Plan, console: Console) -> None:
    summary = plan.summary()
    step = f"{summary.batch:,} samples and {summary.tokens:,} tokens a step"
    title(console, text.count(plan.world, "rank"), summary.layout, step)
    for grids in _spans(plan):
        for grid in grids:
            console.print()
            _views(plan, grid, console)
        console.print()
        for line in draw(grids, width(console) - 4):
            console.print(Text("  ").append(line))


def _spans(plan: Plan) -> Iterable[tuple[GridPlan, ...]]:
    """The grids by the ranks that they lie on."""
    spans: dict[range, tuple[GridPlan, ...]] = {}
    for grid in plan.grids:
        spans[grid.ranks] = (*spans.get(grid.ranks, ()), grid)
    return spans.values()


def _views(plan: Plan, grid: GridPlan, console: Console) -> None:
    held = ", ".join(module.name for module in plan.spec.modules if module.grid == grid.name)
    head = Text.assemble("  ", (grid.name, "bold"), f"  ranks {text.span(grid.ranks)}")
    console.print(head.append(f"  {held}", style="dim"))
    views = plan.spec.grid(grid.name).views
    rows = table("", "", "")
    for view, product in zip(views, text.products(views), strict=True):
        rows.add_row(Text(view.name, style="dim"), product, f"= {grid.world:,}")
    print_table(console, rows, indent=4)


def _ranks(plan: Plan) -> Table:
    axes = _axes(plan)
    rows = table("rank>", "modules", *(f"{axis}>" for axis in axes), "layers", "experts", "samples")
    if plan.world <= _ALL:
        for rank in range(plan.world):
            _add_rank(rows, plan.rank(rank), axes)
        return rows
    for grids in _spans(plan):
        ranks = grids[0].ranks
        shown = min(4, len(ranks))
        for rank in ranks[:shown]:
            _add_rank(rows, plan.rank(rank), axes)
        if len(ranks) > shown + 1:
            rows.add_row("…", Text(f"{len(ranks) - shown - 1:,} more", style="dim"))
        if len(ranks) > shown:
            _add_rank(rows, plan.rank(ranks[-1]), axes)
    return rows


def _axes(plan: Plan) -> list[str]:
    """The axes along which any two ranks of a grid differ."""
    views = [view for grid in plan.grids for view in grid.views[:2] if not view.implied]
    differ = {name for view in views for name, size in view.layout.axes if size > 1}
    return [axis for axis in (*BASE_AXES, *EXPERT_AXES) if axis in differ]


def _add_rank(rows: Table, rank: RankPlan, axes: list[str]) -> None:
    """One row for each grid that the rank is in."""
    number = str(rank.rank)
    for grid, views in rank.coordinates.items():
        held = [role for role in rank.modules if role.module.grid == grid]
        at = views["base"] | views.get("expert", {})
        rows.add_row(
            number,
            ", ".join(role.name for role in held),
            *(str(at.get(axis, "")) for axis in axes),
            next((text.layers(role) for role in held if role.layers), ""),
            next((text.span(role.experts) for role in held if role.experts), ""),
            next((text.span(role.samples(0)) for role in held), ""),
        )
        number = ""


def _groups(plan: Plan, every: Iterable[CommunicatorPlan], room: int) -> Table:
    """Names that share communicators share a row."""
    numbers = len(f"{plan.world:,}")
    names = max(room // 3, *(len(group.name) for group in plan.groups()))
    rows = table("name", "groups>", "of>", "members")
    rows.columns[0].width = names
    room -= names + max(numbers, len("groups")) + numbers + 6
    for one in every:
        declared = [group for group in one.names if not group.implied]
        if declared:
            members = text.groups(one.made, room)
            rows.add_row(joined(declared), f"{one.count:,}", f"{one.made.size:,}", members)
    return rows


def _print_implied(plan: Plan, console: Console) -> None:
    for grid in plan.grids:
        if grid.expert_implied:
            note = f"  {grid.name}.expert.* implied: etp as tp, ep as cp, edp as dp"
            console.print(Text(note, style="dim"))


def _bridges(plan: Plan) -> Table:
    rows = table("flow", "", "dp", "tensors", "leaders")
    for bridge in plan.bridges:
        dp = f"{bridge.source.axis('dp')} → {bridge.destination.axis('dp')}"
        sent, received = list(bridge.sent), list(bridge.received)
        rows.add_row(
            f"{bridge.flow.encoder} → {bridge.flow.language}",
            _crossing(bridge),
            dp,
            f"{sent} → {received}",
            _leaders(bridge),
        )
    return rows


def _crossing(bridge: BridgePlan) -> str:
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
            yield f"{sender} → {text.peers(bridge.peers(sender))}"
    else:
        for receiver in bridge.receivers:
            yield f"{text.peers(bridge.peers(receiver))} → {receiver}"
