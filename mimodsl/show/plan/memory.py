"""What ranks need of memory at the peak of a step: by role, and of one rank by part."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.memory import (
    Misfit,
    PeakMemory,
    RoleMemory,
    misfits,
    peak_memory,
    role_memories,
)
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.show.plan import text
from mimodsl.show.plan.tables import print_table, table, title
from mimodsl.show.plan.work import MOST_STAGES

_MIB: Final = 2**20
_GIB: Final = 2**30
_LARGE: Final = 10 * _GIB
"""From this much on, sizes are in GiB."""

_COLUMNS: Final = {
    "weights": "weights",
    "gradients": "grads",
    "optimizer": "state",
    "activations": "kept",
    "samples": "batch",
    "temporary": "temp",
    "outside": "outside",
    "total": "total",
}
"""The parts of a peak and their sum, by what a narrow column calls them."""


def print_memory(plan: Plan, console: Console) -> None:
    """What each role's ranks need, those that need alike in one row."""
    if plan.stages > MOST_STAGES:
        return
    roles = role_memories(plan)
    unit = _unit(max(role.peak.total for role in roles))
    title(console, "Memory", f"{unit} at the peak of a step, on a GPU")
    rows = table("ranks", *(f"{column}>" for column in _COLUMNS.values()))
    for role in roles:
        *parts, total = (_scaled(getattr(role.peak, part), unit) for part in _COLUMNS)
        rows.add_row(_ranks(role), *parts, Text(total, style="bold"))
    print_table(console, rows)


def _unit(most: int) -> str:
    return "GiB" if most >= _LARGE else "MiB"


def _scaled(size: int, unit: str) -> str:
    if size == 0:
        return "–"
    return f"{size / _GIB:,.2f}" if unit == "GiB" else f"{size / _MIB:,.1f}"


def _ranks(role: RoleMemory) -> str:
    return ", ".join(text.members(stage) for stage in role.stages)


def print_rank_memory(plan: Plan, rank: RankPlan, console: Console) -> None:
    """What one rank needs, part by part."""
    peak = peak_memory(plan, rank.rank)
    unit = _unit(peak.total)
    title(console, "Memory", f"{_gib(peak.total)} GiB at the peak of a step, on a GPU")
    print_table(console, _parts(peak, unit))


def _parts(peak: PeakMemory, unit: str) -> Table:
    rows = table("", f"{unit}>", "")
    for part in ("weights", "gradients", "optimizer"):
        rows.add_row(part, _scaled(getattr(peak, part), unit), "")
    flight = text.count(peak.activation_memory.in_flight, "microbatch", "es")
    rows.add_row("activations", _scaled(peak.activations, unit), f"of {flight} in flight")
    for module, layers in peak.activation_memory.kept.items():
        for layer, size in layers.items():
            share = _scaled(size * peak.activation_memory.in_flight, unit)
            rows.add_row(*(Text(cell, style="dim") for cell in (f"  {module}", share, layer)))
    for part, remark in _REMARKS.items():
        rows.add_row(part, _scaled(getattr(peak, part), unit), remark)
    return rows


_REMARKS: Final = {
    "samples": "a step's batch, and what stages hand on",
    "temporary": "of the worst moment",
    "outside": "CUDA's context and NCCL's buffers, not torch's",
}


def print_misfits(plan: Plan, size: int, console: Console) -> bool:
    """Print the ranks that need more than `size` bytes; whether all fit."""
    found = misfits(plan, size)
    if not found:
        most = max(role_memories(plan), key=lambda role: role.peak.total)
        console.print(
            f"all ranks fit into {_gib(size)} GiB: the most is {_gib(most.peak.total)} GiB, on "
            f"rank {most.rank:,}",
            soft_wrap=True,
        )
        return True
    for misfit in found:
        for line in _misfit(misfit):
            console.print(line, soft_wrap=True)
    return False


def _misfit(misfit: Misfit) -> Iterator[Text]:
    ranks = sum(map(len, misfit.role.stages))
    verb = "needs" if ranks == 1 else "need"
    yield Text.assemble(
        ("rank" if ranks == 1 else "ranks", "bold"),
        f" {_ranks(misfit.role)} {verb} {_gib(misfit.role.peak.total)} GiB, "
        f"{_gib(misfit.over)} GiB too much",
    )
    for remedy in misfit.remedies:
        yield Text(f"  with {remedy.change}: {_gib(remedy.total)} GiB", style="dim")


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f}" if size < 100 * _GIB else f"{size / _GIB:,.0f}"


def memory_json(plan: Plan) -> list[dict[str, Any]] | None:
    """Every role's memory as plain values; `None` for a pipeline of very many stages."""
    if plan.stages > MOST_STAGES:
        return None
    return [_role_json(role) for role in role_memories(plan)]


def rank_memory_json(plan: Plan, rank: int) -> dict[str, Any]:
    """One rank's memory as plain values."""
    return _peak_json(peak_memory(plan, rank))


def misfits_json(plan: Plan, size: int) -> dict[str, Any]:
    """Who fits into `size` bytes, and by how much others do not."""
    found = misfits(plan, size)
    return {
        "bytes": size,
        "fits": not found,
        "misfits": [
            {
                **_role_json(misfit.role),
                "over": misfit.over,
                "remedies": [
                    {"change": remedy.change, "total": remedy.total} for remedy in misfit.remedies
                ],
            }
            for misfit in found
        ],
    }


def _role_json(role: RoleMemory) -> dict[str, Any]:
    return {"ranks": _ranks_json(role.stages), "rank": role.rank, **_peak_json(role.peak)}


def _ranks_json(stages: Iterable[Any]) -> list[dict[str, Any]]:
    """Ranks by strides, as those of groups."""
    return [
        {
            "start": ranks.start,
            "inner": [[factor.size, factor.stride] for factor in ranks.factors],
        }
        for ranks in stages
    ]


def _peak_json(peak: PeakMemory) -> dict[str, Any]:
    passes = peak.activation_memory
    return {
        **{part: getattr(peak, part) for part in _COLUMNS},
        "allocated": peak.allocated,
        "in_flight": passes.in_flight,
        "microbatch": passes.kept,
    }
