"""Which modules lie on which ranks, and at which coordinates."""

from typing import Final

from drawing.svg import Drawing
from mimodsl.planner.plan import Plan

_LEFT: Final = 96
_WIDE: Final = 76
_HIGH: Final = 40
_GAP: Final = 5


def placement(plan: Plan) -> str:
    """A column for each rank, with a box for each module that it holds."""
    drawing = Drawing(f"A {plan.layout.value} layout of {plan.world} ranks")
    names = [module.name for module in plan.spec.modules]
    for row, name in enumerate(names):
        drawing.text(_LEFT - 14, row * (_HIGH + _GAP) + _HIGH / 2, name, "end")
    bottom = len(names) * (_HIGH + _GAP)
    drawing.text(_LEFT - 14, bottom + 12, "rank", "end")
    for rank in range(plan.world):
        x = _LEFT + rank * _WIDE
        drawing.text(x + (_WIDE - _GAP) / 2, bottom + 12, str(rank), "strong")
        own = plan.rank(rank)
        for role in own.modules:
            row = names.index(role.name)
            y = row * (_HIGH + _GAP)
            base = plan.grid(role.module.grid).base.coordinates(rank)
            drawing.box((x, y), (_WIDE - _GAP, _HIGH), hue=row)
            middle = x + (_WIDE - _GAP) / 2
            drawing.text(middle, y + _HIGH / 2 - 8, f"tp {base['tp']}")
            drawing.text(middle, y + _HIGH / 2 + 8, f"dp {base['dp']}")
    return drawing.render()
