"""The page of a grid: the product of each view, the picture, and a row per rank."""

from collections.abc import Iterator
from typing import Final

from mimodsl.ir.draft import Draft
from mimodsl.ir.grid import Grid
from mimodsl.ir.placement import Placed
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.spec import Spec
from mimodsl.lsp.specs import Analysis
from mimodsl.planner.grids import GridPlan, grid_plans
from mimodsl.show.plan.grid_picture import draw
from mimodsl.show.short import plural, products, span

_WIDTH: Final = 72
_ROWS: Final = 16
"""Up to this many ranks, the page has a row per rank."""


def grid_page(name: str, analysis: Analysis) -> str:
    """All facts about a grid; for a grid without a layout, its views."""
    draft = analysis.checked.loaded.draft
    grid = draft.grid(name)
    if grid is None:
        return f"**`{name}`** — grid"
    modules = [f"`{module.name}`" for module in draft.modules if module.grid == name]
    plan = _plan(draft, grid)
    ranks = f"ranks {span(plan.ranks)}" if plan else plural(grid.world, "rank")
    head = " · ".join([f"**`{name}`** — grid, {ranks}", *([", ".join(modules)] if modules else [])])
    return "\n\n".join([head, f"```text\n{'\n'.join(_lines(grid, plan))}\n```"])


def _plan(draft: Draft, grid: Grid) -> GridPlan | None:
    """The grid's layout if its views cover the same ranks; from rank 0 without a placement."""
    schedule = Schedule(kind=ScheduleKind.NO_PIPELINING, sequence=1)  # not used by a layout
    places = [(draft.grids, draft.place)] if draft.place else []
    for grids, place in (*places, ((grid,), Placed(grid=grid.name))):
        try:
            plans = grid_plans(Spec(grids=grids, place=place, modules=(), schedule=schedule))
        except (KeyError, ValueError):  # a wrong spec; its diagnostics are shown elsewhere
            continue
        return next((grid_plan for grid_plan in plans if grid_plan.name == grid.name), None)
    return None


def _lines(grid: Grid, plan: GridPlan | None) -> Iterator[str]:
    width = max(len(view.name) for view in grid.views)
    for view, product in zip(grid.views, products(grid.views), strict=True):
        size = 1
        for _, axis_size in grid.sizes(view):
            size *= axis_size
        yield f"{view.name:{width}}  {product} = {size:,}"
    if plan is None or plan.world == 1:
        return
    yield ""
    yield from (line.plain.rstrip() for line in draw((plan,), _WIDTH))
    if plan.world <= _ROWS:
        yield ""
        yield from _table(plan)


def _table(plan: GridPlan) -> Iterator[str]:
    """A row per rank: its coordinates in every declared view."""
    shown = [
        (view.name, [axis for axis, size in view.layout.axes if size > 1])
        for view in plan.views
        if not view.implied
    ]
    head = ["rank", *(axis for _, axes in shown for axis in axes)]
    widths = [max(len(cell), 2) for cell in head]
    rows = [head]
    for rank in plan.ranks:
        coordinates = plan.coordinates(rank)
        rows.append(
            [str(rank), *(str(coordinates[name][axis]) for name, axes in shown for axis in axes)]
        )
    for row in rows:
        yield "  ".join(cell.rjust(size) for cell, size in zip(row, widths, strict=True))
