"""The differences of two specs, and which weights of one load into the other."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.text import Text

from mimodsl.ir.spec import Spec
from mimodsl.planner.difference import Difference
from mimodsl.planner.transfer import Transfer, left_out, transfers
from mimodsl.show.json import plain
from mimodsl.show.tables import print_table, table

_ABSENT = "-"


def show(a: Spec, b: Spec, differences: Sequence[Difference], console: Console) -> None:
    """Print the differences by aspect, then which weights of `a` load into `b`."""
    if not differences:
        console.print("no differences")
        return
    for aspect, group in groupby(differences, key=lambda difference: difference.aspect):
        console.print(Text(aspect, style="bold"))
        _show_rows([_row(difference) for difference in group], console)
    console.print(Text("weights of A in B", style="bold"))
    rows = [(transfer.module, _outcome(transfer)) for transfer in transfers(a, b)]
    rows += [(name, "left out: B has no place for it") for name in left_out(a, b)]
    _show_rows(rows, console)


def _row(difference: Difference) -> tuple[str, ...]:
    before, after = difference.before or _ABSENT, difference.after or _ABSENT
    return difference.where, difference.field, f"{before} → {after}"


def _outcome(transfer: Transfer) -> str:
    if transfer.reason is not None:
        return f"does not load: {transfer.reason}"
    names = ", ".join(transfer.resharded)
    return f"loads, resharded: {names}" if names else "loads"


def _show_rows(rows: Sequence[tuple[str, ...]], console: Console) -> None:
    grid = table(*("" for _ in rows[0]))
    for row in rows:
        grid.add_row(*map(Text, row))
    print_table(console, grid, indent=4)


def document(a: Spec, b: Spec, differences: Sequence[Difference]) -> dict[str, Any]:
    """The comparison as plain values for JSON."""
    return {
        "same": not differences,
        "differences": plain(differences),
        "weights": [{**plain(transfer), "loads": transfer.loads} for transfer in transfers(a, b)],
        "left_out": left_out(a, b),
    }
