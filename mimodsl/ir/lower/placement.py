"""Placement: the grids that an expression names."""

from mimodsl.ir.lower.names import Scope
from mimodsl.ir.node import Origin
from mimodsl.ir.placement import Beside, Place, Placed, Together
from mimodsl.syntax import ast


def read_placement(placement: ast.Placement, scope: Scope) -> Place | None:
    """The placement, or `None` after a report of every grid that is not declared."""
    origin = Origin(span=placement.span)
    match placement:
        case ast.Placed():
            if placement.name.text not in scope.names(ast.Grid):
                scope.missing(ast.Grid, placement.name)
                return None
            return Placed(grid=placement.name.text, origin=origin)
        case ast.Parenthesised():
            return read_placement(placement.inner, scope)
        case ast.Beside() | ast.Together():
            parts = [read_placement(part, scope) for part in placement.parts]
            found = [part for part in parts if part is not None]
            if len(found) < len(parts):
                return None
            together = isinstance(placement, ast.Together)
            return (Together if together else Beside)(parts=tuple(found), origin=origin)
