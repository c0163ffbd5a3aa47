"""What a run came to: a few lines for people, one document for programs."""

from math import isfinite
from typing import Any, cast

import attrs
from rich.console import Console
from rich.table import Table

from mimodsl.planner.plan import plan
from mimodsl.runtime.errors import rank_list
from mimodsl.runtime.run import Run
from mimodsl.runtime.train import Group


def show(run: Run, console: Console) -> None:
    """Prints ranks, groups, parameters a module and rank, and the first and the last loss."""
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


def as_json(run: Run, path: str) -> dict[str, Any]:
    """The run as one JSON document: parameters by module and rank, null where no number is."""
    from mimodsl.show.plan import as_json as plan_as_json

    document = {
        "spec": path,
        "device": run.device.value,
        "backend": run.backend,
        "world": run.spec.world,
        "seed": run.spec.train.seed,
        "plan": plan_as_json(plan(run.spec))["summary"],
        "groups": [{"names": group.names, "ranks": group.ranks} for group in groups(run)],
        "parameters": {
            module.name: {
                str(rank.rank): rank.parameters[module.name]
                for rank in run.ranks
                if module.name in rank.parameters
            }
            for module in run.spec.modules
        },
        "start": run.start and str(run.start.folder),
        "steps": [attrs.asdict(step) for step in run.steps],
        "evaluations": [attrs.asdict(one) for one in run.evaluations],
        "traces": {str(rank): str(trace) for rank, trace in run.traces.items()},
        "saved": [attrs.asdict(saved) | {"folder": str(saved.folder)} for saved in run.saved],
        "seconds": run.seconds,
    }
    return finite(document)


def finite(value: Any) -> Any:
    """The value with null in the place of what JSON has no number for."""
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(one) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in cast("list[Any]", value)]
    return value


def groups(run: Run) -> tuple[Group, ...]:
    """Every process group that the run's ranks are in, once each."""
    return tuple(dict.fromkeys(group for rank in run.ranks for group in rank.groups))


def _span(held: dict[int, int]) -> str:
    least, most = min(held.values()), max(held.values())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
