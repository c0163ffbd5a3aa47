"""The schedule of a plan: the passes of each stage, time from left to right."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.schedule import PassKind, StageSchedule
from mimodsl.show import short
from mimodsl.show.json import LISTED, fields, listed
from mimodsl.show.tables import print_table, table, title, width

_ALL: Final = 32
"""Up to this many stages have a row each; of more, only the first ones and the last."""

_PASSES: Final = 32 * LISTED
"""Where all stages together have more passes a step than this, `order` is null."""

_STYLES = {PassKind.FORWARD: "cyan", PassKind.BACKWARD: "magenta"}


def show(plan: Plan, console: Console) -> None:
    """Print a row for each stage: its passes, at slots of time where the last stage's fit."""
    summary = plan.summary()
    title(
        console,
        "Schedule",
        f"{plan.spec.schedule.kind}",
        short.plural(summary.microbatches, "microbatch", "es"),
        f"ideal bubble {summary.bubble:.0%}",
    )
    print_table(console, _stages(plan, width(console)))


def _stages(plan: Plan, width: int) -> Table:
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
        passes = _timeline(schedule, room) if by_slots else schedule.text(room // cell)
        rows.add_row(str(stage), modules, ranks, passes)
    return rows


def _head(plan: Plan, stage: int) -> tuple[str, str]:
    """The modules of a stage and its ranks."""
    grids = list(plan.stage(stage))
    names = [grid.name for grid, _ in grids]
    modules = [module.name for module in plan.spec.modules if module.grid in names]
    ranks = list(dict.fromkeys(short.members(ranks) for _, ranks in grids))
    return ", ".join(modules), ", ".join(ranks)


def _timeline(schedule: StageSchedule, width: int) -> Text:
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


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:  # noqa: ARG001 - as sections do
    """Print the order of one rank's passes."""
    schedule = rank.schedule
    title(console, "Order", f"{schedule.warmup} warm-up", f"{schedule.in_flight} in flight at most")
    console.print(Text(f"  {schedule.text((width(console) - 4) // 4)}"))


def document(plan: Plan) -> dict[str, Any]:
    """The schedule as plain values; no `stages` where there are more than `LISTED`."""
    stages = listed(range(plan.stages))
    return {
        "kind": plan.spec.schedule.kind.value,
        "stages": stages and [stage_document(plan.schedule(stage)) for stage in stages],
    }


def stage_document(schedule: StageSchedule) -> dict[str, Any]:
    """One stage's passes as plain values."""
    passes = schedule.stages * schedule.passes
    return {
        **fields(schedule, "stage", "stages", "warmup", "in_flight"),
        "order": [str(step) for step in schedule.order()] if passes <= _PASSES else None,
    }
