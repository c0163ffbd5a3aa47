"""The passes of every stage in a step, one a slot."""

from typing import Final

from drawing.svg import Drawing
from mimodsl.planner.plan import Plan
from mimodsl.planner.schedule import PassKind

_LEFT: Final = 210
_WIDE: Final = 34
_HIGH: Final = 32
_GAP: Final = 4


def schedule(plan: Plan) -> str:
    """Stages one above the other, time from left to right; what waits is empty."""
    drawing = Drawing(
        f"A step of {plan.spec.schedule.microbatches} microbatches on {plan.stages} stages"
    )
    for stage in range(plan.stages):
        y = stage * (_HIGH + _GAP)
        grid, ranks = next(iter(plan.stage(stage)))
        names = [module.name for module in plan.spec.modules if module.grid == grid.name]
        label = f"{', '.join(names)}  {ranks[0]}–{ranks[len(ranks) - 1]}"
        drawing.text(_LEFT - 14, y + _HIGH / 2, label, "end")
        for slot, step in plan.schedule(stage).timeline():
            hue = 0 if step.kind is PassKind.FORWARD else 1
            drawing.box((_LEFT + slot * _WIDE, y), (_WIDE - _GAP, _HIGH), str(step), hue=hue)
    y = plan.stages * (_HIGH + _GAP) + 10
    drawing.text(_LEFT, y, "time →", "start dim")
    return drawing.render()
