"""The look of a plan on a terminal: titles, and tables without boxes."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mimodsl.planner.groups import GroupPlan

WIDEST: Final = 100
"""Columns beyond which tables get no wider: eyes lose the row."""


def title(console: Console, name: str, *remarks: str) -> None:
    """A section's title: a name, and remarks beside it."""
    line = Text(name, style="bold")
    if remarks:
        line.append("  ").append(" · ".join(remarks), style="not bold dim")
    console.print()
    for part in line.wrap(console, width(console)):
        part.rstrip()
        console.print(part)


def width(console: Console) -> int:
    """The columns that a plan may use."""
    return min(console.width, WIDEST)


def table(*columns: str) -> Table:
    """A table without lines; columns whose names end in `>` are right-aligned."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for column in columns:
        made.add_column(
            column.removesuffix(">"),
            header_style="dim",
            justify="right" if column.endswith(">") else "left",
            overflow="fold",
        )
    return made


def joined(names: Sequence[GroupPlan]) -> Text:
    """The names of one communicator, each after the first without the grid that they share."""
    first, *others = names
    name = Text(first.name, style="dim" if first.implied else "")
    for other in others:
        name.append(f" {other.name.removeprefix(f'{first.grid}.')}", style="dim")
    return name


def print_table(console: Console, made: Table, indent: int = 2, widest: int = WIDEST) -> None:
    """Print a table, a little to the right of its title and without blanks at its right.

    Its words and numbers stay whole: where a terminal is too narrow for that, lines are longer.
    """
    options = console.options.update(width=min(console.width, widest) - indent)
    for column in made.columns:
        cells = [Measurement.get(console, options, one) for one in (column.header, *column.cells)]
        column.min_width = max(one.maximum if column.no_wrap else one.minimum for one in cells)
    for line in Segment.split_lines(console.render(made, options)):
        row = Text(" " * indent)
        for segment in line:
            row.append(segment.text, segment.style)
        row.rstrip()
        console.print(row, no_wrap=True, crop=False, overflow="ignore")
