"""Every process group of a plan as a table with a row for each member: CSV, or lines of JSON.

A row costs a formatted string and no more: some million of them are made in a second.
"""

import json
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from mimodsl.planner.groups import GroupPlan
from mimodsl.planner.plan import Plan

COLUMNS: Final = ("name", "index", "position", "rank")
"""The group's name, which of the groups of that name it is, and the member's place in it."""


class RowForm(Enum):
    """How a table is spelled."""

    CSV = "csv"
    JSON_LINES = "jsonl"

    @property
    def head(self) -> str:
        return f"{','.join(COLUMNS)}\n" if self is RowForm.CSV else ""

    def row(self, name: str) -> str:
        """A row of the groups of one name, for `%` with an index, a position and a rank."""
        if self is RowForm.CSV:  # names have neither quotes nor commas
            return f"{name},%d,%d,%d\n"
        cells = (json.dumps(name, ensure_ascii=False), "%d", "%d", "%d")
        pairs = (f'"{column}": {cell}' for column, cell in zip(COLUMNS, cells, strict=True))
        return f"{{{', '.join(pairs)}}}\n"


def group_rows(plan: Plan, form: RowForm = RowForm.CSV) -> Iterator[str]:
    """All groups of a plan, in the order in which they are made; see `table_rows`."""
    return table_rows(plan.groups(), form)


def table_rows(groups: Iterable[GroupPlan], form: RowForm) -> Iterator[str]:
    """Some groups as text, in pieces of whole rows: each member of each, by its rank in its group.

    Takes a time that grows with the rows alone, and the memory of some thousand.
    """
    yield form.head
    for group in groups:
        yield from _rows(group, form.row(group.name))


def row_count(plan: Plan) -> int:
    """The rows of a plan's groups."""
    return sum(len(block.members) for group in plan.groups() for block in group.blocks)


def _rows(group: GroupPlan, row: str) -> Iterator[str]:
    index, number = 0, 0
    for block in group.blocks:
        size = group.size if group.joined else block.size
        for ranks in block.members.runs():
            yield "".join(
                [
                    row % (index + count // size, count % size, rank)
                    for count, rank in enumerate(ranks, number)
                ]
            )
            number += len(ranks)
        if not group.joined:
            index, number = index + len(block), 0
