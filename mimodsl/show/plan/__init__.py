"""A plan for the eye (terminal tables) and for programs (plain values, ready for JSON)."""

from io import StringIO

from rich.console import Console

from mimodsl.planner.plan import Plan
from mimodsl.show.plan.document import as_json
from mimodsl.show.plan.rank import show_rank
from mimodsl.show.plan.world import show_world

__all__ = ["as_json", "plain", "render"]


def plain(plan: Plan) -> str:
    """What `render` prints of a plan, without colour, in lines of at most 120 columns."""
    stream = StringIO()
    console = Console(file=stream, highlight=False, no_color=True, force_jupyter=False, width=120)
    render(plan, console)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines())


def render(plan: Plan, console: Console, rank: int | None = None) -> None:
    """Print a plan, or the plan of one rank. `ValueError` for a rank outside the world.

    Colours and width are the console's: off a terminal rich leaves plain text of 80 columns.
    """
    if rank is None:
        show_world(plan, console)
    else:
        show_rank(plan, plan.rank(rank), console)
