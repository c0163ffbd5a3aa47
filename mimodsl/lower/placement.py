"""Placement: the grids that an expression names."""

from mimodsl.ir.node import Origin
from mimodsl.ir.placement import Beside, Place, Placed, Together
from mimodsl.lower.names import Scope
from mimodsl.syntax import ast


def read_placement(placement: ast.Placement, scope: Scope) -> Place | None:
    """The placement, or `None` after a report of every grid that is none."""
    origin = Origin(span=placement.span)
    match placement:
        case ast.Placed():
            name = scope.resolved(ast.Grid, placement.name)
            return Placed(grid=name, origin=origin) if name else None
        case ast.ParenthesisedPlacement():
            return read_placement(placement.inner, scope)
        case ast.Beside() | ast.Together():
            parts = [read_placement(part, scope) for part in placement.parts]
            found = [part for part in parts if part is not None]
            if len(found) < len(parts):
                return None
            together = isinstance(placement, ast.Together)
            return (Together if together else Beside)(parts=tuple(found), origin=origin)
