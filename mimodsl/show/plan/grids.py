"""The grids of a plan: their views as products of axes, and a picture of each rank span."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan
from mimodsl.show import short
from mimodsl.show.json import fields, plain
from mimodsl.show.plan.grid_picture import draw
from mimodsl.show.tables import print_table, table, title, width


def show(plan: Plan, console: Console) -> None:
    """Print the size of the world, then the grids, those on the same ranks above one picture."""
    summary = plan.summary()
    step = f"{summary.batch:,} samples and {summary.tokens:,} tokens a step"
    title(console, short.plural(plan.world, "rank"), summary.layout, step)
    for grids in by_ranks(plan):
        for grid in grids:
            console.print()
            _show_views(plan, grid, console)
        console.print()
        for line in draw(grids, width(console) - 4):
            console.print(Text("  ").append(line))


def by_ranks(plan: Plan) -> Iterable[tuple[GridPlan, ...]]:
    """The grids of a plan, those on the same ranks together."""
    spans: dict[range, tuple[GridPlan, ...]] = {}
    for grid in plan.grids:
        spans[grid.ranks] = (*spans.get(grid.ranks, ()), grid)
    return spans.values()


def _show_views(plan: Plan, grid: GridPlan, console: Console) -> None:
    modules = ", ".join(module.name for module in plan.spec.modules if module.grid == grid.name)
    head = Text.assemble("  ", (grid.name, "bold"), f"  ranks {short.span(grid.ranks)}")
    console.print(head.append(f"  {modules}", style="dim"))
    views = plan.spec.grid(grid.name).views
    rows = table("", "", "")
    for view, product in zip(views, short.products(views), strict=True):
        rows.add_row(Text(view.name, style="dim"), product, f"= {grid.world:,}")
    print_table(console, rows, indent=4)


def document(plan: Plan) -> list[dict[str, Any]]:
    """The grids as plain values."""
    return [
        {
            **fields(grid, "name", "ranks"),
            "views": [
                {
                    "name": view.name,
                    "axes": dict(view.layout.axes),
                    "shared": plain(view.shared),
                    "implied": view.implied,
                }
                for view in grid.views
            ],
        }
        for grid in plan.grids
    ]
