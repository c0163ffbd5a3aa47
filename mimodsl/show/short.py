"""Ranks, groups, layers and axes in few characters: `…` stands for the middle of a long list."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest

from rich.text import Text

from mimodsl.ir.grid import View
from mimodsl.planner.groups import GroupPlan
from mimodsl.planner.ranks import Members
from mimodsl.planner.roles import ModuleRole


def plural(number: int, word: str, ending: str = "s") -> str:
    """`1 rank`, `4,096 ranks`."""
    return f"{number:,} {word}{'' if number == 1 else ending}"


def span(numbers: range) -> str:
    """Consecutive numbers: `4–7`, `4`, or a dash for none."""
    if not numbers:
        return "–"
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}"


def members(ranks: Members, width: int = 80) -> str:
    """The members of a group: `4–7` where they are neighbours, else `0 2 4 6`.

    Where they do not fit into the width, the first ones and the last: `0 2 … 30`.
    """
    if len(ranks) > 2 and ranks.last - ranks.start == len(ranks) - 1:
        return f"{ranks.start}–{ranks.last}"
    most = (width + 1) // (len(str(ranks.last)) + 1)
    if len(ranks) <= max(2, most):
        return " ".join(map(str, ranks))
    return f"{' '.join(map(str, islice(ranks, max(1, most - 2))))} … {ranks.last}"


def peers(ranks: range, most: int = 8) -> str:
    """Leaders at a bridge: `4 6`; of more than `most`, the first ones and the last."""
    if len(ranks) <= most:
        return " ".join(map(str, ranks))
    return f"{' '.join(map(str, ranks[: most - 2]))} … {ranks[-1]}"


def layers(role: ModuleRole, symbols: int = 8) -> str:
    """A rank's layers of a module, with the first of their symbols: `0–5 MEM*EM`."""
    if not role.layers:
        return ""
    cut = len(role.pattern) > symbols
    pattern = f"{role.pattern[: symbols - 1]}…" if cut else role.pattern
    return f"{span(role.layers)} {pattern}".rstrip()


def names(groups: Sequence[str], grid: str, style: str = "") -> Text:
    """Names of groups with the same members: after the first, each without the grid's name."""
    first, *others = groups
    line = Text(first, style=style)
    for name in others:
        line.append(f" {name.removeprefix(f'{grid}.')}", style="dim")
    return line


def groups(group: GroupPlan, width: int) -> str:
    """The groups of one name, as many as fit: `0 1 │ 2 3 │ … 62 more`."""
    more = f" │ … {group.count:,} more"
    each = width if group.count == 1 else max(width // 3, width - len(more))
    shown = ""
    for index, ranks in enumerate(group):
        longer = f"{shown} │ {members(ranks, each)}" if shown else members(ranks, each)
        room = width if index == group.count - 1 else width - len(more)
        if shown and len(longer) > room:
            return f"{shown} │ … {group.count - index:,} more"
        shown = longer
    return shown


def products(views: Iterable[View]) -> Iterator[str]:
    """Views as a spec writes them, one above the other in columns: `tp:2  * cp:1 * dp:2`."""
    table = [tuple(map(str, view.axes)) for view in views]
    widths = [max(map(len, column)) for column in zip_longest(*table, fillvalue="")]
    for row in table:
        yield " * ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
