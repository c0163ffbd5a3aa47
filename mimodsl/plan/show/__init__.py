"""A plan for the eye (terminal tables) and for programs (plain values, ready for JSON)."""

from rich.console import Console

from mimodsl.plan.show.document import as_json
from mimodsl.plan.show.rank import show_rank
from mimodsl.plan.show.world import show_world
from mimodsl.plan.whole import Plan

__all__ = ["as_json", "render"]


def render(plan: Plan, console: Console, rank: int | None = None) -> None:
    """Print a plan, or the plan of one rank. `ValueError` for a rank outside the world.

    Colours and width are the console's: off a terminal rich leaves plain text of 80 columns.
    """
    if rank is None:
        show_world(plan, console)
    else:
        show_rank(plan, plan.rank(rank), console)
