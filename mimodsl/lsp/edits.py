"""Changes of a text as few edits as its lines allow, so that the cursor stays where it is."""

import difflib
from collections.abc import Iterator

from lsprotocol import types

from mimodsl.lsp.positions import Positions
from mimodsl.lsp.specs import Analysis
from mimodsl.syntax.formatter import format_source


def between(before: Positions, after: str) -> list[types.TextEdit]:
    """The edits that make one text of another, whole lines each."""
    return list(_edits(before, after))


def _edits(before: Positions, after: str) -> Iterator[types.TextEdit]:
    old, new = before.text.splitlines(keepends=True), after.splitlines(keepends=True)
    starts = [0]
    for line in old:
        starts.append(starts[-1] + len(line))
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield types.TextEdit(before.range(starts[i], starts[j]), "".join(new[k:m]))


def formatted(analysis: Analysis) -> list[types.TextEdit] | None:
    """The edits that put a text into the one style; `None` for broken text.

    Line breaks stay those of the text.
    """
    text = format_source(analysis.source).text
    if text is None:
        return None
    if "\r\n" in analysis.source.text:
        text = text.replace("\n", "\r\n")
    return between(analysis.positions, text)
