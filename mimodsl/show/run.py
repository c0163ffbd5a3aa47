"""The result of a run: parameters, groups, losses, and where its checkpoints are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from mimodsl.ir.spec import Spec
from mimodsl.planner.plan import plan
from mimodsl.runtime.errors import rank_list
from mimodsl.runtime.run import Run
from mimodsl.runtime.train import Communicator, RankSummary
from mimodsl.show.json import fields, plain

if TYPE_CHECKING:
    from mimodsl.runtime.meta import BuiltRank  # imports torch


def show(run: Run, console: Console) -> None:
    """Print ranks, groups, parameters a module and rank, and the first and the last loss."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("module", "ranks"):
        table.add_column(column)
    for column in ("parameters a rank", "parameters on all"):
        table.add_column(column, justify="right")
    for module in run.spec.modules:
        held = {
            rank.rank: rank.parameters[module.name]
            for rank in run.ranks
            if module.name in rank.parameters
        }
        if held:
            table.add_row(
                module.name,
                rank_list(held).partition(" ")[2],
                _span(held),
                f"{sum(held.values()):,}",
            )
    console.print()
    console.print(table)
    console.print()
    console.print(
        f"{run.spec.world} ranks on {run.device} over {run.backend}, "
        f"{len(groups(run))} process groups, {run.seconds:.1f} s",
        highlight=False,
    )
    if run.steps:
        first, last, count = run.steps[0].loss, run.steps[-1].loss, len(run.steps)
        curve = f"{first:.4f} → {last:.4f} over {count} steps" if count > 1 else f"{last:.4f}"
        console.print(f"loss {curve}", highlight=False)
    if run.evaluations:
        first, last = run.evaluations[0], run.evaluations[-1]
        console.print(
            f"held-out loss {first.loss:.4f} → {last.loss:.4f}, "
            f"accuracy {first.accuracy:.1%} → {last.accuracy:.1%}",
            highlight=False,
        )
    for trace in run.traces.values():
        console.print(f"trace {trace}", highlight=False, soft_wrap=True)
    if run.saved:
        console.print(f"go on with --load {run.saved[-1].folder}", highlight=False, soft_wrap=True)
    if run.start and run.nothing_left:
        step = run.start.manifest.step
        console.print(f"nothing is left to train: {step} steps are done already")


def document(run: Run, path: str) -> dict[str, Any]:
    """The run as plain values: parameters by module and rank, null where a loss is no number."""
    return {
        "spec": path,
        **fields(run, "device", "backend"),
        "world": run.spec.world,
        "seed": run.spec.train.seed,
        "plan": plain(plan(run.spec).summary()),
        "groups": [fields(group, "names", "ranks") for group in groups(run)],
        "parameters": parameters(run.spec, run.ranks),
        "start": run.start and str(run.start.folder),
        **fields(run, "steps", "evaluations", "traces", "saved", "seconds"),
    }


def parameters(spec: Spec, ranks: Iterable[RankSummary | BuiltRank]) -> dict[str, dict[str, int]]:
    """The parameters of each module on each of the ranks that hold a part of it."""
    return {
        module.name: {
            str(rank.rank): rank.parameters[module.name]
            for rank in ranks
            if module.name in rank.parameters
        }
        for module in spec.modules
    }


def groups(run: Run) -> tuple[Communicator, ...]:
    """Every process group that the run's ranks are in, once each."""
    return tuple(dict.fromkeys(group for rank in run.ranks for group in rank.groups))


def _span(held: dict[int, int]) -> str:
    least, most = min(held.values()), max(held.values())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
