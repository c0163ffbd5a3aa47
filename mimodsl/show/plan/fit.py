"""Whether the ranks of a plan fit into a GPU's memory, and what would make them fit."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from mimodsl.planner.memory import Misfit, misfits, role_memories
from mimodsl.planner.plan import Plan
from mimodsl.show.json import plain
from mimodsl.show.numbers import gib
from mimodsl.show.plan.memory import rank_list, role_document


def show(plan: Plan, size: int, console: Console) -> bool:
    """Print the ranks that need more than `size` bytes; returns whether all fit."""
    too_large = misfits(plan, size)
    if not too_large:
        most = max(role_memories(plan), key=lambda role: role.peak.total)
        console.print(
            f"all ranks fit into {gib(size)} GiB: the most is {gib(most.peak.total)} GiB, on "
            f"rank {most.rank:,}",
            soft_wrap=True,
        )
        return True
    for misfit in too_large:
        for line in _lines(misfit):
            console.print(line, soft_wrap=True)
    return False


def _lines(misfit: Misfit) -> Iterator[Text]:
    ranks = sum(map(len, misfit.role.stages))
    verb = "needs" if ranks == 1 else "need"
    yield Text.assemble(
        ("rank" if ranks == 1 else "ranks", "bold"),
        f" {rank_list(misfit.role)} {verb} {gib(misfit.role.peak.total)} GiB, "
        f"{gib(misfit.over)} GiB too much",
    )
    for remedy in misfit.remedies:
        yield Text(f"  with {remedy.change}: {gib(remedy.total)} GiB", style="dim")


def document(plan: Plan, size: int) -> dict[str, Any]:
    """The roles that do not fit into `size` bytes, and how much too large they are."""
    too_large = misfits(plan, size)
    return {
        "bytes": size,
        "fits": not too_large,
        "misfits": [
            {
                **role_document(misfit.role),
                "over": misfit.over,
                "remedies": plain(misfit.remedies),
            }
            for misfit in too_large
        ],
    }
