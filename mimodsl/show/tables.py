"""The look of what is printed: titles, and tables without lines."""

from typing import Final

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

WIDEST: Final = 100
"""Columns beyond which no table gets wider: eyes lose the row."""


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
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for column in columns:
        rows.add_column(
            column.removesuffix(">"),
            header_style="dim",
            justify="right" if column.endswith(">") else "left",
            overflow="fold",
        )
    return rows


def print_table(console: Console, rows: Table, indent: int = 2, widest: int = WIDEST) -> None:
    """Print a table, a little to the right of its title and without blanks at its right.

    Its words and numbers stay whole: where a terminal is too narrow for that, lines are longer.
    """
    options = console.options.update(width=min(console.width, widest) - indent)
    for column in rows.columns:
        cells = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
        column.min_width = max(cell.maximum if column.no_wrap else cell.minimum for cell in cells)
    for line in Segment.split_lines(console.render(rows, options)):
        text = Text(" " * indent)
        for segment in line:
            text.append(segment.text, segment.style)
        text.rstrip()
        console.print(text, no_wrap=True, crop=False, overflow="ignore")
