"""A plan, or one rank's part of it: on a console, as text, and as plain values for JSON.

Each section of it is a file here with the same functions: `show` and `show_rank` print the section
on a console, `document` and `rank_document` give its part of the JSON document.
"""

from io import StringIO
from typing import Any

from rich.console import Console

from mimodsl.planner.plan import Plan
from mimodsl.show.json import plain
from mimodsl.show.plan import bridges, grids, groups, memory, ranks, schedule, work

__all__ = ["document", "show", "text"]


def show(plan: Plan, console: Console, rank: int | None = None) -> None:
    """Print a plan, or the plan of one rank. `ValueError` for a rank outside the world.

    Colours and width are the console's: off a terminal rich leaves plain text of 80 columns.
    """
    if rank is None:
        for section in (grids, ranks, groups, bridges, schedule, work, memory):
            section.show(plan, console)
    else:
        part = plan.rank(rank)
        for section in (ranks, groups, bridges, schedule, work, memory):
            section.show_rank(plan, part, console)
    console.print()


def text(plan: Plan) -> str:
    """A plan as `show` prints it, without colour, in lines of at most 120 columns."""
    stream = StringIO()
    console = Console(file=stream, highlight=False, no_color=True, force_jupyter=False, width=120)
    show(plan, console)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines())


def document(plan: Plan, rank: int | None = None) -> dict[str, Any]:
    """A plan, or the plan of one rank, as plain values. `ValueError` for a rank outside the world.

    Groups stand there twice: as `members`, and as `blocks` of strides, which stay small: a group's
    ranks are `start` plus any digit times its stride for each `[size, stride]` of `inner`; groups
    differ by those of `outer`.
    """
    if rank is not None:
        part = plan.rank(rank)
        return {
            "world": plan.world,
            **ranks.rank_document(part),
            **groups.rank_document(plan, part),
            "work": work.rank_document(plan, rank),
            "memory": memory.rank_document(plan, rank),
        }
    return {
        "summary": plain(plan.summary()),
        "grids": grids.document(plan),
        "modules": ranks.modules_document(plan),
        **groups.document(plan),
        "bridges": bridges.document(plan),
        "schedule": schedule.document(plan),
        "ranks": ranks.document(plan),
        "work": work.document(plan),
        "memory": memory.document(plan),
    }
