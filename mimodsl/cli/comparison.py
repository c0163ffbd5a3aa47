"""Two specs side by side: tables for people, one document for programs."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import attrs
from rich.console import Console
from rich.text import Text

from mimodsl.ir.spec import Spec
from mimodsl.planner.difference import Difference
from mimodsl.planner.transfer import Transfer, left_out, transfers
from mimodsl.show.plan.tables import print_table, table

_ABSENT = "-"


def show(a: Spec, b: Spec, found: Sequence[Difference], console: Console) -> None:
    """Prints the differences by aspect, then what of a checkpoint of `a` loads into `b`."""
    if not found:
        console.print("no differences")
        return
    for aspect, differences in groupby(found, key=lambda one: one.aspect):
        console.print(Text(aspect, style="bold"))
        _show_rows([_row(one) for one in differences], console)
    console.print(Text("weights of A in B", style="bold"))
    rows = [(one.module, _outcome(one)) for one in transfers(a, b)]
    rows += [(name, "left out: B has no place for it") for name in left_out(a, b)]
    _show_rows(rows, console)


def _row(one: Difference) -> tuple[str, ...]:
    return one.where, one.field, f"{one.before or _ABSENT} → {one.after or _ABSENT}"


def _outcome(one: Transfer) -> str:
    if one.reason is not None:
        return f"does not load: {one.reason}"
    return f"loads, resharded: {', '.join(one.resharded)}" if one.resharded else "loads"


def _show_rows(rows: Sequence[tuple[str, ...]], console: Console) -> None:
    made = table(*("" for _ in rows[0]))
    for row in rows:
        made.add_row(*map(Text, row))
    print_table(console, made, indent=4)


def as_json(a: Spec, b: Spec, found: Sequence[Difference]) -> dict[str, Any]:
    """The comparison as one JSON document."""
    return {
        "same": not found,
        "differences": [attrs.asdict(one) for one in found],
        "weights": [attrs.asdict(one) | {"loads": one.loads} for one in transfers(a, b)],
        "left_out": left_out(a, b),
    }
