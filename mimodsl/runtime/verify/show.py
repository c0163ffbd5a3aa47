"""A verification for people, in a table and a few lines, and as one document for programs."""

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, cast

import attrs
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mimodsl.runtime.verify.shrink import Change
from mimodsl.runtime.verify.verdict import Check, Difference, StepVerdict, Worst
from mimodsl.runtime.verify.verify import Verification

_WHY_COMPARABLE: Final = (
    "Both runs are in fp32, without auxiliary and z-losses, dropout and expert capacities: "
    "these depend on the layout by design."
)
_LONG: Final = 40


def show_changes(changes: tuple[Change, ...], console: Console) -> None:
    """Prints what of the spec is run otherwise than it is written."""
    if not changes:
        return
    table = _table("field", "spec", "here")
    for change in changes:
        table.add_row(change.field, _short(change.old), _short(change.new))
    console.print(Text("\nrun smaller, with the same layout and the same kinds of layers\n"))
    console.print(Padding(table, (0, 0, 0, 2)))
    console.print()


def show(verification: Verification, console: Console) -> None:
    """Prints the numbers of both runs, then whether they agree and where they part."""
    verdict = verification.verdict
    ranks = f"{verification.run.world} ranks"
    table = _table("step", "", "one rank", ranks, "apart", "farthest")
    for step in verdict.steps:
        for row in _rows(step):
            table.add_row(*row)
    table.add_row("", "weights", "", "", *_farthest(verdict.weights))
    for column in table.columns[2:5]:
        column.justify = "right"
    console.print()
    console.print(table)
    console.print()
    console.print(_conclusion(verification))
    console.print(Text(_WHY_COMPARABLE, style="dim"))


def as_json(verification: Verification, path: str) -> dict[str, Any]:
    """The verification as one JSON document; what is no number is null."""
    verdict = verification.verdict
    document = {
        "spec": path,
        "equal": verdict.equal,
        "world": verification.run.world,
        "tolerance": verification.tolerance,
        "changes": [attrs.asdict(change) for change in verification.changes],
        "steps": [attrs.asdict(step) for step in verdict.steps],
        "weights": attrs.asdict(verdict.weights),
        "parameters": verdict.parameters,
        "difference": verdict.difference and attrs.asdict(verdict.difference),
        "seconds": verification.seconds,
    }
    return _plain(document)


def _rows(step: StepVerdict) -> Iterator[tuple[str, ...]]:
    yield str(step.step), "loss", *_pair(*step.loss), ""
    norms = [norm or 0.0 for norm in step.grad_norm]
    yield "", "gradient norm", *_pair(*norms), ""
    for norm in step.norms:
        yield "", f"  {norm.module}", *_pair(norm.alone, norm.layout), ""
    yield "", "forward pass", "", "", *_farthest(step.forward)
    yield "", "gradients", "", "", *_farthest(step.gradients)


def _pair(alone: float, layout: float) -> tuple[str, str, str]:
    apart = abs(layout - alone) / (abs(alone) or 1.0)
    return f"{alone:.6g}", f"{layout:.6g}", _distance(apart)


def _farthest(worst: Worst) -> tuple[str, str]:
    return _distance(worst.distance), worst.where


def _distance(distance: float) -> str:
    return f"{distance:.0e}" if distance else "0"


def _conclusion(verification: Verification) -> Group | Text:
    verdict = verification.verdict
    if verdict.difference is not None:
        return Group(*_parting(verdict.difference))
    worst = max(
        *(step.gradients.distance for step in verdict.steps),
        *(step.forward.distance for step in verdict.steps),
        verdict.weights.distance,
    )
    text = Text()
    text.append("equal", style="bold green")
    text.append(
        f": on {verification.run.world} ranks the model trains as on one "
        f"({verdict.parameters} parameters, farthest {_distance(worst)}, "
        f"tolerance {_distance(verification.tolerance)}, {verification.seconds:.1f} s)"
    )
    return text


def _parting(difference: Difference) -> Iterator[Text]:
    at = "" if difference.step is None else f" in step {difference.step}"
    if difference.check is Check.WEIGHTS:
        at = ""
    head = Text()
    head.append("different", style="bold red")
    head.append(f": the {difference.check} part{'s' if _single(difference.check) else ''}{at}")
    yield head
    lines = [("module", difference.module), ("at", difference.where)]
    lines += [("seen", line) for line in difference.how]
    if scope := _scope(difference):
        lines.append(("differ", scope))
    lines.append(("likely", f"{difference.cause}: {difference.reason}"))
    for name, line in lines:
        yield Text.assemble(("  " + name.ljust(8), "bold"), line)


def _single(check: Check) -> bool:
    return check in (Check.FORWARD, Check.LOSS, Check.NORMS)


def _scope(difference: Difference) -> str:
    counts = ((module, *found) for module, found in difference.scope.items())
    return ", ".join(f"{module} {differ} of {of}" for module, differ, of in counts)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _short(text: str) -> str:
    """A value in a table's cell: a long layer pattern by its beginning and its length."""
    if len(text) <= _LONG:
        return text
    return f"{text[: _LONG - 8]}… ({len(text)})"


def _plain(value: Any) -> Any:
    """The value with null in the place of what JSON has no number for."""
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("list[Any]", value)]
    return value
