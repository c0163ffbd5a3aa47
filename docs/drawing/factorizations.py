"""A grid's two views above and below its ranks, and the groups that they make."""

from collections.abc import Callable
from itertools import groupby
from typing import Final

from attrs import define

from drawing.svg import Drawing
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan

_LEFT: Final = 190
_WIDE: Final = 68
_HIGH: Final = 30
_GAP: Final = 5
_GROUPS: Final = ("tp", "dp", "tp-dp-cp", "expert.ep", "expert.edp")


def views(plan: Plan, name: str) -> str:
    """Which shard each rank holds of the dense layers, and which experts."""
    grid = plan.grid(name)
    rows = _Rows(Drawing(f"Two factorizations of ranks {grid.ranks[0]} to {grid.ranks[-1]}"), grid)

    def experts(rank: int) -> str:
        own = plan.rank(rank).modules[0].experts
        return f"{own[0]}–{own[-1]}"

    rows.title(f"dense layers: {_product(grid, 0)}")
    rows.runs("replica", _at(grid, 0, "dp"))
    rows.runs("shard of the weights", _at(grid, 0, "tp"), hue=0)
    rows.ranks()
    rows.runs("experts", experts, hue=2)
    rows.runs("replica", _at(grid, 1, "edp"))
    rows.title(f"experts: {_product(grid, 1)}")
    return rows.drawing.render()


def groups(plan: Plan, name: str) -> str:
    """Ranks of one colour are one group."""
    grid = plan.grid(name)
    rows = _Rows(Drawing(f"Process groups of the grid {name}: one colour, one group"), grid)
    rows.ranks()
    for group in plan.groups():
        axes = group.name.removeprefix(f"{name}.")
        if axes in _GROUPS:
            number = {rank: place for place, members in enumerate(group) for rank in members}
            rows.cells(axes, number)
    return rows.drawing.render()


def _product(grid: GridPlan, view: int) -> str:
    return " · ".join(f"{axis} {size}" for axis, size in grid.views[view].layout.axes if size > 1)


def _at(grid: GridPlan, view: int, axis: str) -> Callable[[int], str]:
    return lambda rank: f"{axis} {grid.views[view].layout.coordinates(rank)[axis]}"


@define
class _Rows:
    """Rows of cells over a column for each rank, from the top down."""

    drawing: Drawing
    grid: GridPlan
    y: float = 0

    def title(self, words: str) -> None:
        self.drawing.text(_LEFT, self.y + 12, words, "start strong")
        self.y += 26

    def ranks(self) -> None:
        for rank in self.grid.ranks:
            self._box(rank, 1, str(rank), look="strong")
        self._end("rank")

    def cells(self, label: str, number: dict[int, int]) -> None:
        """A cell a rank, a colour for each number."""
        for rank in self.grid.ranks:
            self._box(rank, 1, str(number[rank]), hue=number[rank])
        self._end(label)

    def runs(self, label: str, words: Callable[[int], str], hue: int | None = None) -> None:
        """A cell for each run of ranks with the same words; from `hue` on, a colour for each."""
        said = list(dict.fromkeys(map(words, self.grid.ranks)))
        for what, run in groupby(self.grid.ranks, key=words):
            ranks = tuple(run)
            self._box(ranks[0], len(ranks), what, None if hue is None else hue + said.index(what))
        self._end(label)

    def _box(
        self, rank: int, columns: int, words: str, hue: int | None = None, look: str = ""
    ) -> None:
        x = _LEFT + (rank - self.grid.ranks.start) * _WIDE
        self.drawing.box((x, self.y), (columns * _WIDE - _GAP, _HIGH), words, hue=hue, look=look)

    def _end(self, label: str) -> None:
        self.drawing.text(_LEFT - 14, self.y + _HIGH / 2, label, "end")
        self.y += _HIGH + _GAP
