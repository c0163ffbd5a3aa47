"""Lowers a placement: which grids lie side by side or on the same ranks."""

from mimodsl.ir.node import Origin
from mimodsl.ir.placement import Beside, Place, Placed, Together
from mimodsl.lower.names import NameScope
from mimodsl.syntax import ast


def read_placement(placement: ast.Placement, scope: NameScope) -> Place | None:
    """The placement; `None` after a report of every unknown grid."""
    origin = Origin(span=placement.span)
    match placement:
        case ast.Placed():
            name = scope.resolved(ast.Grid, placement.name)
            return Placed(grid=name, origin=origin) if name else None
        case ast.ParenthesisedPlacement():
            return read_placement(placement.inner, scope)
        case ast.Beside() | ast.Together():
            parts = [read_placement(part, scope) for part in placement.parts]
            sound_parts = [part for part in parts if part is not None]
            if len(sound_parts) < len(parts):
                return None
            together = isinstance(placement, ast.Together)
            return (Together if together else Beside)(parts=tuple(sound_parts), origin=origin)
