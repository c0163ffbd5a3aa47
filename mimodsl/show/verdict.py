"""The result of a verification: the numbers of both runs, and where they differ."""

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from mimodsl.runtime.verify.shrink import Change
from mimodsl.runtime.verify.verdict import Check, FirstDifference, StepVerdict, Worst
from mimodsl.runtime.verify.verify import Verification
from mimodsl.show.json import fields, plain
from mimodsl.show.tables import print_table, table

_WHY_COMPARABLE: Final = (
    "Both runs are in fp32, without auxiliary and z-losses, dropout and expert capacities: "
    "these depend on the layout by design."
)
_KEPT: Final = (
    "run with these changes; kinds of layers, the placement, tp, cp, pp, ep and etp stay, "
    "and so does what divides over ranks"
)
_LONG: Final = 40


def show_changes(changes: tuple[Change, ...], console: Console) -> None:
    """Print the fields that this run changes in the spec."""
    if not changes:
        return
    rows = table("field", "spec", "here")
    for change in changes:
        rows.add_row(change.field, *(Text(_short(one)) for one in (change.old, change.new)))
    console.print(Text(_KEPT, style="dim"))
    console.print()
    print_table(console, rows)
    console.print()


def show(verification: Verification, console: Console) -> None:
    """Print the numbers of both runs, then whether they agree and where they part."""
    verdict = verification.verdict
    rows = table("step", "", "one rank>", f"{verification.run.world} ranks>", "apart>", "farthest")
    rows.columns[1].no_wrap = True
    for step in verdict.steps:
        for row in _rows(step):
            rows.add_row(*row)
    rows.add_row("", "weights", "", "", *_farthest(verdict.weights))
    console.print()
    print_table(console, rows, indent=0, widest=console.width)
    console.print()
    if verdict.difference is not None:
        _show_parting(verdict.difference, console)
    else:
        console.print(_equal(verification))
    console.print(Text(_WHY_COMPARABLE, style="dim"))


def document(verification: Verification, path: str) -> dict[str, Any]:
    """The verification as plain values; null where a number is none."""
    verdict = verification.verdict
    return {
        "spec": path,
        "equal": verdict.equal,
        "world": verification.run.world,
        "tolerance": verification.tolerance,
        "changes": plain(verification.changes),
        **fields(verdict, "steps", "weights", "parameters", "difference"),
        "seconds": verification.seconds,
    }


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


def _equal(verification: Verification) -> Text:
    verdict = verification.verdict
    worst = max(
        *(step.gradients.distance for step in verdict.steps),
        *(step.forward.distance for step in verdict.steps),
        verdict.weights.distance,
    )
    return Text.assemble(
        ("equal", "bold green"),
        f": on {verification.run.world} ranks the model trains as on one "
        f"({verdict.parameters} parameters, farthest {_distance(worst)}, "
        f"tolerance {_distance(verification.tolerance)}, {verification.seconds:.1f} s)",
    )


def _show_parting(difference: FirstDifference, console: Console) -> None:
    """Prints the verdict in a line, and below it where, what was seen, how far it goes, and why."""
    stepless = difference.step is None or difference.check is Check.WEIGHTS
    at = "" if stepless else f" in step {difference.step}"
    parts = "parts" if _single(difference.check) else "part"
    said = f": the {difference.check} {parts}{at}"
    console.print(Text.assemble(("different", "bold red"), said))
    lines = table("", "")
    for name, line in (
        ("module", difference.module),
        ("at", difference.where),
        *(("seen", line) for line in difference.how),
        ("differ", _scope(difference)),
        ("likely", f"{difference.cause}: {difference.reason}"),
    ):
        if line:
            lines.add_row(Text(name, style="bold"), Text(line))
    print_table(console, lines, widest=console.width)
    console.print()


def _single(check: Check) -> bool:
    return check in (Check.FORWARD, Check.LOSS, Check.NORMS)


def _scope(difference: FirstDifference) -> str:
    counts = ((module, *found) for module, found in difference.scope.items())
    return ", ".join(f"{module} {differ} of {of}" for module, differ, of in counts)


def _short(text: str) -> str:
    """A value in a table's cell: a long layer pattern by its beginning and its length."""
    if len(text) <= _LONG:
        return text
    return f"{text[: _LONG - 8]}… ({len(text)})"
