"""A grid as its ranks: the product of each view, the picture, and a row a rank."""

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
"""As many ranks have a row each; of more, the picture shows the first."""


def grid_page(name: str, analysis: Analysis) -> str:
    """All that is known of a grid; of one that cannot be laid out, what was written."""
    draft = analysis.checked.loaded.draft
    grid = draft.grid(name)
    if grid is None:
        return f"**`{name}`** — grid"
    held = [f"`{module.name}`" for module in draft.modules if module.grid == name]
    plan = _plan(draft, grid)
    ranks = f"ranks {span(plan.ranks)}" if plan else plural(grid.world, "rank")
    head = " · ".join([f"**`{name}`** — grid, {ranks}", *([", ".join(held)] if held else [])])
    return "\n\n".join([head, f"```text\n{'\n'.join(_lines(grid, plan))}\n```"])


def _plan(draft: Draft, grid: Grid) -> GridPlan | None:
    """The grid's layout, where its views cover the same ranks; from rank 0 without a place."""
    schedule = Schedule(kind=ScheduleKind.NO_PIPELINING, sequence=1)  # takes no part in a layout
    places = [(draft.grids, draft.place)] if draft.place else []
    for grids, place in (*places, ((grid,), Placed(grid=grid.name))):
        try:
            plans = grid_plans(Spec(grids=grids, place=place, modules=(), schedule=schedule))
        except (KeyError, ValueError):  # of a wrong spec, whose mistakes are shown elsewhere
            continue
        return next((one for one in plans if one.name == grid.name), None)
    return None


def _lines(grid: Grid, plan: GridPlan | None) -> Iterator[str]:
    width = max(len(view.name) for view in grid.views)
    for view, product in zip(grid.views, products(grid.views), strict=True):
        size = 1
        for _, one in grid.sizes(view):
            size *= one
        yield f"{view.name:{width}}  {product} = {size:,}"
    if plan is None or plan.world == 1:
        return
    yield ""
    yield from (line.plain.rstrip() for line in draw((plan,), _WIDTH))
    if plan.world <= _ROWS:
        yield ""
        yield from _table(plan)


def _table(plan: GridPlan) -> Iterator[str]:
    """A row a rank: its coordinates in every view that is declared."""
    shown = [
        (view.name, [axis for axis, size in view.layout.axes if size > 1])
        for view in plan.views
        if not view.implied
    ]
    head = ["rank", *(axis for _, axes in shown for axis in axes)]
    widths = [max(len(cell), 2) for cell in head]
    rows = [head]
    for rank in plan.ranks:
        at = plan.coordinates(rank)
        rows.append([str(rank), *(str(at[name][axis]) for name, axes in shown for axis in axes)])
    for row in rows:
        yield "  ".join(cell.rjust(size) for cell, size in zip(row, widths, strict=True))
