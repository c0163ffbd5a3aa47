"""Grids: a span of ranks, and its views, which factor it into axes."""

from collections.abc import Mapping
from math import prod
from typing import Any, Final, cast

from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, PP, TP
from mimodsl.ir.facts import LAYOUT, unnamed
from mimodsl.ir.node import AT_LEAST_1, NOT_EMPTY, Node, items, knob, node

BASE_AXES: Final = (TP, CP, DP, PP)
EXPERT_AXES: Final = (ETP, EP, EDP)
EXPERT_VIEW: Final = "expert"


@node
class Axis(Node):
    """One factor of a view. An axis without a size is shared with the base view."""

    name: str = knob(
        doc="`tp`, `cp`, `dp`, `pp`; `etp`, `ep`, `edp` in an expert view",
        facts=unnamed(LAYOUT),
    )
    size: int | None = knob(
        default=None,
        unit="ranks",
        check=AT_LEAST_1,
        doc="ranks along the axis; none where shared",
        facts=unnamed(LAYOUT),
    )

    def __str__(self) -> str:
        return self.name if self.size is None else f"{self.name}:{self.size}"


def _axes(value: Any) -> Any:
    if isinstance(value, Mapping):
        sizes = cast(Mapping[str, int | None], value)
        return tuple(Axis(name=name, size=size) for name, size in sizes.items())
    return items(value)


@node
class View(Node):
    """A factorization of a grid's ranks; the first axis varies fastest.

    `axes` also takes a mapping, `{"etp": 1, "ep": 2, "edp": 2, "pp": None}`; `None` means shared.
    """

    name: str = knob(
        doc="`dense` by custom for the base view; `expert` for the experts' view",
        facts=unnamed(LAYOUT),
    )
    axes: tuple[Axis, ...] = knob(
        converter=_axes,
        check=NOT_EMPTY,
        doc="the factors, fastest-varying first",
        facts=unnamed(LAYOUT),
    )

    def axis(self, name: str) -> Axis | None:
        return next((axis for axis in self.axes if axis.name == name), None)

    def __str__(self) -> str:
        return " * ".join(map(str, self.axes))


def _views(value: Any) -> Any:
    if isinstance(value, Mapping):
        views = cast(Mapping[str, Any], value)
        return tuple(View(name=name, axes=axes) for name, axes in views.items())
    return items(value)


@node
class Grid(Node):
    """A span of ranks with its views; the first view is the base view.

    `views` also takes a mapping from a view's name to its axes:
    `{"dense": {"tp": 2, "dp": 2}, "expert": {"ep": 2, "edp": 2, "pp": None}}`.
    """

    name: str = knob(
        doc="what modules and `place` call it",
        facts=unnamed(LAYOUT),
    )
    views: tuple[View, ...] = knob(
        converter=_views,
        doc="the factorizations, base view first",
        facts=unnamed(LAYOUT),
    )
    ranks: int | None = knob(
        default=None,
        unit="ranks",
        check=AT_LEAST_1,
        doc="the number of ranks, where it is stated",
        facts=unnamed(LAYOUT),
    )

    @property
    def base(self) -> View:
        return self.views[0]

    @property
    def expert(self) -> View | None:
        """The view of the experts; `None` for a grid without experts."""
        return next((view for view in self.views[1:] if view.name == EXPERT_VIEW), None)

    @property
    def world(self) -> int:
        """The number of ranks of the grid: the product of its base view."""
        return prod(axis.size or 1 for axis in self.base.axes)

    def size(self, axis: str) -> int:
        """The size of an axis in the view that gives it a size; else 1."""
        for view in self.views:
            sized_axis = view.axis(axis)
            if sized_axis is not None and sized_axis.size is not None:
                return sized_axis.size
        return 1

    def sizes(self, view: View) -> tuple[tuple[str, int], ...]:
        """The axes of a view with their sizes, in order; shared axes have the base view's size."""
        return tuple((axis.name, axis.size or self.size(axis.name)) for axis in view.axes)
