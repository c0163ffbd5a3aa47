"""The picture of a rank span: every factorization of its ranks, one above the other.

Over the ranks stand the base views and under them the experts' and the user's own. In each, the
axis that varies fastest is next to the ranks.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen
from rich.text import Text

from mimodsl.planner.grids import GridPlan, ViewPlan

_COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "red")


@frozen(kw_only=True)
class Band:
    """One row: coordinates along one axis, each over runs of `stride` ranks."""

    label: str
    size: int
    stride: int

    def at(self, position: int) -> int:
        """The coordinate of the rank at a position in the span."""
        return position // self.stride % self.size


def draw(grids: tuple[GridPlan, ...], width: int) -> Iterator[Text]:
    """The picture of grids that lie on the same ranks, at most `width` columns wide.

    Where the span is too wide, its first ranks stand for the rest.
    """
    above = [band for grid in grids for band in reversed(list(_bands(grid, grid.views[0], grids)))]
    below = [
        band
        for grid in grids
        for view in grid.views[1:]
        if not view.implied
        for band in _bands(grid, view, grids)
    ]
    ranks, labels = grids[0].ranks, [band.label for band in (*above, *below)]
    if not labels:
        return
    margin = max(map(len, (*labels, "rank"))) + 4
    shown, cell = _fit(ranks, width - margin - 4, (*above, *below))
    for band in above:
        yield _label(band.label, margin).append(_row(band, ranks, shown, cell))
    yield _label("rank", margin).append(_spine(ranks, shown, cell))
    for band in below:
        yield _label(band.label, margin).append(_row(band, ranks, shown, cell))


def _bands(grid: GridPlan, view: ViewPlan, grids: tuple[GridPlan, ...]) -> Iterator[Band]:
    stride = 1
    for axis, size in view.layout.axes:
        if size > 1:
            label = f"{grid.name} {axis}" if len(grids) > 1 else axis
            yield Band(label=label, size=size, stride=stride)
        stride *= size


def _fit(ranks: range, width: int, bands: Iterable[Band]) -> tuple[int, int]:
    """How many ranks to show, and the columns of each; whole runs where not all ranks fit."""
    digits = len(str(ranks[-1]))
    for cell in (max(5, digits), max(3, digits), digits):
        if len(ranks) * (cell + 1) < width:
            return len(ranks), cell
    most = max(1, (width - 1 - len(f" … {ranks[-1]}")) // (digits + 1))
    run = max(band.stride for band in bands if band.stride <= most)
    return most // run * run, digits


def _label(label: str, margin: int) -> Text:
    return Text(f"{label:>{margin - 2}}  ", style="dim")


def _row(band: Band, ranks: range, shown: int, cell: int) -> Text:
    row = Text("│", style="dim")
    for position in range(0, shown, band.stride):
        run = min(band.stride, shown - position)
        at = band.at(position)
        row.append(f"{at:^{run * (cell + 1) - 1}}", style=f"not dim {_COLOURS[at % len(_COLOURS)]}")
        row.append("│")
    return row.append(" …") if shown < len(ranks) else row


def _spine(ranks: range, shown: int, cell: int) -> Text:
    cells = [f"{rank:═^{cell}}" for rank in ranks[:shown]]
    row = Text(f"╞{'╪'.join(cells)}╡", style="not dim bold")
    return row.append(f" … {ranks[-1]}") if shown < len(ranks) else row
