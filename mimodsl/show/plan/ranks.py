"""The ranks of a plan: modules, coordinates, layers, experts and samples of each."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.roles import ModuleRole
from mimodsl.show import short
from mimodsl.show.json import LISTED, fields, plain
from mimodsl.show.plan import bridges, schedule
from mimodsl.show.plan.grids import by_ranks
from mimodsl.show.tables import print_table, table, title, width

_ALL: Final = 16
"""Up to this many ranks have a row each; of more, only the first and the last of every span."""


def show(plan: Plan, console: Console) -> None:
    """Print a row for each rank, or for some ranks of a wide world."""
    title(console, "Ranks", "samples of the first microbatch")
    print_table(console, _ranks(plan))


def _ranks(plan: Plan) -> Table:
    axes = _axes(plan)
    rows = table("rank>", "modules", *(f"{axis}>" for axis in axes), "layers", "experts", "samples")
    if plan.world <= _ALL:
        for rank in range(plan.world):
            _add_rank(rows, plan.rank(rank), axes)
        return rows
    for grids in by_ranks(plan):
        ranks = grids[0].ranks
        first = min(4, len(ranks))
        for rank in ranks[:first]:
            _add_rank(rows, plan.rank(rank), axes)
        if len(ranks) > first + 1:
            rows.add_row("…", Text(f"{len(ranks) - first - 1:,} more", style="dim"))
        if len(ranks) > first:
            _add_rank(rows, plan.rank(ranks[-1]), axes)
    return rows


def _axes(plan: Plan) -> list[str]:
    """The axes along which any two ranks of a grid differ."""
    views = [view for grid in plan.grids for view in grid.views[:2] if not view.implied]
    differ = {name for view in views for name, size in view.layout.axes if size > 1}
    return [axis for axis in (*BASE_AXES, *EXPERT_AXES) if axis in differ]


def _add_rank(rows: Table, rank: RankPlan, axes: list[str]) -> None:
    """Add a row for each grid that the rank is in."""
    number = str(rank.rank)
    for grid, views in rank.coordinates.items():
        roles = [role for role in rank.modules if role.module.grid == grid]
        coordinates = views["base"] | views.get("expert", {})
        rows.add_row(
            number,
            ", ".join(role.name for role in roles),
            *(str(coordinates.get(axis, "")) for axis in axes),
            next((short.layers(role) for role in roles if role.layers), ""),
            next((short.span(role.experts) for role in roles if role.experts), ""),
            next((short.span(role.samples(0)) for role in roles), ""),
        )
        number = ""


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:
    """Print the modules of one rank, and its coordinates in every view."""
    where = f"stage {rank.schedule.stage}/{rank.schedule.stages}"
    title(console, f"Rank {rank.rank:,}", f"world of {plan.world:,}", plan.layout.value, where)
    print_table(console, _modules(rank, width(console) - 60))
    title(console, "Coordinates")
    print_table(console, _coordinates(plan, rank))


def _modules(rank: RankPlan, width: int) -> Table:
    rows = table("module", "kind", "grid", "pp", "dp", "layers", "experts", "samples")
    for role in rank.modules:
        rows.add_row(
            Text(role.name, style="bold"),
            role.module.kind.keyword + (", frozen" if role.module.frozen else ""),
            role.module.grid,
            f"{role.stage}/{role.stages}",
            f"{role.replica}/{role.replicas}",
            short.layers(role, symbols=width) or "–",
            short.span(role.experts),
            _samples(role),
        )
    return rows


def _samples(role: ModuleRole) -> str:
    """The samples of the first two microbatches, which show the step between them."""
    return f"{short.span(role.samples(0))}, {short.span(role.samples(1))} …"


def _coordinates(plan: Plan, rank: RankPlan) -> Table:
    rows = table("", "", "")
    for grid, views in rank.coordinates.items():
        names = {"base": plan.spec.grid(grid).base.name}
        for view, coordinates in views.items():
            place = " · ".join(f"{axis} {index}" for axis, index in coordinates.items())
            rows.add_row(grid, Text(names.get(view, view), style="dim"), place)
    return rows


def document(plan: Plan) -> list[dict[str, Any]] | None:
    """Every rank as plain values; `None` for a world of more than `LISTED` ranks."""
    if plan.world > LISTED:
        return None
    return [rank_document(plan.rank(rank)) for rank in range(plan.world)]


def rank_document(rank: RankPlan) -> dict[str, Any]:
    """One rank as plain values: its modules and coordinates, its part in bridges, its passes."""
    return {
        "rank": rank.rank,
        "modules": [_role(role) for role in rank.modules],
        "coordinates": rank.coordinates,
        "bridges": bridges.rank_document(rank),
        "schedule": schedule.stage_document(rank.schedule),
    }


def _role(role: ModuleRole) -> dict[str, Any]:
    return {
        "name": role.name,
        "grid": role.module.grid,
        **fields(role, "stage", "stages", "first", "last", "layers", "pattern", "experts"),
        **fields(role, "replica", "replicas"),
        "samples": plain(role.samples(0)),
    }


def modules_document(plan: Plan) -> list[dict[str, Any]]:
    """The modules of the spec as plain values: what each is, and the grid that it is on."""
    return [
        {
            "name": module.name,
            "kind": module.kind.keyword,
            **fields(module, "role", "grid", "frozen"),
        }
        for module in plan.spec.modules
    ]
