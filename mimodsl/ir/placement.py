"""Placement: which grids share ranks, and the order of grids in the world."""

from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from mimodsl.ir.facts import LAYOUT, unnamed
from mimodsl.ir.node import Node, holds, items, knob, node


@node
class Placed(Node):
    """One grid, by name."""

    grid: str = knob(doc="the grid's name", facts=unnamed(LAYOUT))

    def __str__(self) -> str:
        return self.grid


def _parts(value: Any) -> Any:
    parts = items(value)
    if not isinstance(parts, tuple):
        return parts
    named = cast("tuple[Any, ...]", parts)
    return tuple(Placed(grid=part) if isinstance(part, str) else part for part in named)


def _are_places(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    holds(*PLACES)(instance, attribute, value)  # two of these classes do not exist yet


@node
class Beside(Node):
    """`a | b`: disjoint rank spans, in order. A part may be a grid's name."""

    parts: "tuple[Place, ...]" = attrs.field(converter=_parts, validator=_are_places)

    def __str__(self) -> str:
        return " | ".join(
            f"({part})" if isinstance(part, Beside) else str(part) for part in self.parts
        )


@node
class Together(Node):
    """`a & b`: the same ranks. A part may be a grid's name."""

    parts: "tuple[Place, ...]" = attrs.field(converter=_parts, validator=_are_places)

    def __str__(self) -> str:
        return " & ".join(
            str(part) if isinstance(part, Placed) else f"({part})" for part in self.parts
        )


type Place = Placed | Beside | Together

PLACES: Final = (Placed, Beside, Together)


def grid_names(place: Place) -> tuple[str, ...]:
    """The names of placed grids from left to right, with repetitions."""
    if isinstance(place, Placed):
        return (place.grid,)
    return tuple(name for part in place.parts for name in grid_names(part))


def rank_spans(place: Place, sizes: Mapping[str, int]) -> dict[str, range]:
    """The ranks of every grid, from the number of ranks of each grid.

    The grids of `a & b` start at the same rank; a rule checks that they also end at the same rank.
    """
    spans: dict[str, range] = {}
    _lay(place, sizes, 0, spans)
    return spans


def _lay(place: Place, sizes: Mapping[str, int], start: int, spans: dict[str, range]) -> int:
    if isinstance(place, Placed):
        end = start + sizes[place.grid]
        spans[place.grid] = range(start, end)
        return end
    if isinstance(place, Beside):
        for part in place.parts:
            start = _lay(part, sizes, start, spans)
        return start
    return max(_lay(part, sizes, start, spans) for part in place.parts)
