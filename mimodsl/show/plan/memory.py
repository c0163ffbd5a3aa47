"""The memory that ranks need at the peak of a step: by role, and of one rank by part."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mimodsl.planner.memory import PeakMemory, RoleMemory, peak_memory, role_memories
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.show import short
from mimodsl.show.json import fields, plain
from mimodsl.show.numbers import GIB, gib
from mimodsl.show.plan.work import MOST_STAGES
from mimodsl.show.tables import print_table, table, title

_MIB: Final = 2**20
_LARGE: Final = 10 * GIB
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


def show(plan: Plan, console: Console) -> None:
    """Print what each role's ranks need."""
    if plan.stages > MOST_STAGES:
        return
    roles = role_memories(plan)
    unit = _unit(max(role.peak.total for role in roles))
    title(console, "Memory", f"{unit} at the peak of a step, on a GPU")
    rows = table("ranks", *(f"{column}>" for column in _COLUMNS.values()))
    for role in roles:
        *parts, total = (_scaled(getattr(role.peak, part), unit) for part in _COLUMNS)
        rows.add_row(rank_list(role), *parts, Text(total, style="bold"))
    print_table(console, rows)


def _unit(most: int) -> str:
    return "GiB" if most >= _LARGE else "MiB"


def _scaled(size: int, unit: str) -> str:
    if size == 0:
        return "–"
    return f"{size / GIB:,.2f}" if unit == "GiB" else f"{size / _MIB:,.1f}"


def rank_list(role: RoleMemory) -> str:
    """The ranks of a role, stage by stage: `0–3, 8 10`."""
    return ", ".join(short.members(stage) for stage in role.stages)


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:
    """Print what one rank needs, part by part."""
    peak = peak_memory(plan, rank.rank)
    unit = _unit(peak.total)
    title(console, "Memory", f"{gib(peak.total)} GiB at the peak of a step, on a GPU")
    print_table(console, _parts(peak, unit))


def _parts(peak: PeakMemory, unit: str) -> Table:
    rows = table("", f"{unit}>", "")
    for part in ("weights", "gradients", "optimizer"):
        rows.add_row(part, _scaled(getattr(peak, part), unit), "")
    flight = short.plural(peak.activation_memory.in_flight, "microbatch", "es")
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


def document(plan: Plan) -> list[dict[str, Any]] | None:
    """Every role's memory as plain values; `None` for a pipeline of very many stages."""
    if plan.stages > MOST_STAGES:
        return None
    return [role_document(role) for role in role_memories(plan)]


def role_document(role: RoleMemory) -> dict[str, Any]:
    """The memory of one role's ranks as plain values."""
    return {"ranks": plain(role.stages), "rank": role.rank, **_peak(role.peak)}


def rank_document(plan: Plan, rank: int) -> dict[str, Any]:
    """One rank's memory as plain values."""
    return _peak(peak_memory(plan, rank))


def _peak(peak: PeakMemory) -> dict[str, Any]:
    passes = peak.activation_memory
    return {
        **fields(peak, *_COLUMNS, "allocated"),
        "in_flight": passes.in_flight,
        "microbatch": passes.kept,
    }
