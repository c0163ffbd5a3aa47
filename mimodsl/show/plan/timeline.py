"""The schedule as a picture: stages one above the other, time from left to right."""

from typing import Final

from rich.table import Table
from rich.text import Text

from mimodsl.planner.plan import Plan
from mimodsl.planner.schedule import PassKind, StageSchedule
from mimodsl.show.plan import text
from mimodsl.show.plan.tables import table

_ALL: Final = 32
"""As many stages have a row each; of more, only the first ones and the last."""

_STYLES = {PassKind.FORWARD: "cyan", PassKind.BACKWARD: "magenta"}


def timelines(plan: Plan, width: int) -> Table:
    """A row for each pipeline stage: its passes, at slots of time where the last stage's fit."""
    last = plan.stages - 1
    stages = range(plan.stages) if last < _ALL else (*range(_ALL // 2), last)
    heads = {stage: _head(plan, stage) for stage in stages}
    columns = zip(*heads.values(), strict=True)
    room = width - sum(max(map(len, column)) for column in columns) - len(f"{last}") - 13
    cell = len(f"F{plan.spec.schedule.microbatches - 1} ")
    by_slots = (plan.stages + 2) * cell <= room
    rows = table("stage>", "modules", "ranks", "passes, one a slot" if by_slots else "passes")
    for stage, (modules, ranks) in heads.items():
        if stage == last >= _ALL:
            rows.add_row("…", Text(f"{plan.stages - len(heads):,} more", style="dim"))
        schedule = plan.schedule(stage)
        passes = timeline(schedule, room) if by_slots else schedule.text(room // cell)
        rows.add_row(str(stage), modules, ranks, passes)
    return rows


def _head(plan: Plan, stage: int) -> tuple[str, str]:
    grids = list(plan.stage(stage))
    names = [grid.name for grid, _ in grids]
    held = [module.name for module in plan.spec.modules if module.grid in names]
    ranks = list(dict.fromkeys(text.members(ranks) for _, ranks in grids))
    return ", ".join(held), ", ".join(ranks)


def timeline(schedule: StageSchedule, width: int) -> Text:
    """One stage's passes, each at its slot: `F0 F1    B0 F2 B1    B2`."""
    cell = len(f"F{schedule.microbatches - 1}") + 1
    line = Text()
    for slot, step in schedule.timeline():
        column = slot * cell
        if column + 2 * cell > width:
            return line.append("…", style="dim")
        line.append(" " * (column - len(line)))
        line.append(f"{step} ", style=_STYLES[step.kind])
    return line
