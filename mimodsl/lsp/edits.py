"""Turns a changed text into edits of single lines, so that the cursor stays in place."""

import difflib
from collections.abc import Iterator

from lsprotocol import types

from mimodsl.lsp.positions import TextPositions
from mimodsl.lsp.specs import Analysis
from mimodsl.syntax.formatter import format_source


def between(before: TextPositions, after: str) -> list[types.TextEdit]:
    """The edits of whole lines that turn one text into another."""
    return list(_edits(before, after))


def _edits(before: TextPositions, after: str) -> Iterator[types.TextEdit]:
    old, new = before.text.splitlines(keepends=True), after.splitlines(keepends=True)
    starts = [0]
    for line in old:
        starts.append(starts[-1] + len(line))
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield types.TextEdit(before.range(starts[i], starts[j]), "".join(new[k:m]))


def formatted(analysis: Analysis) -> list[types.TextEdit] | None:
    """The edits that format a text; `None` for a text with syntax errors.

    The line breaks of the text do not change.
    """
    text = format_source(analysis.source).text
    if text is None:
        return None
    if "\r\n" in analysis.source.text:
        text = text.replace("\n", "\r\n")
    return between(analysis.positions, text)
