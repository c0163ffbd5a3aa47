"""Applies the edits of diagnostics to the text that they are about."""

from collections.abc import Iterable

from attrs import frozen

from mimodsl.diagnostics.diagnostic import Diagnostic, Edit
from mimodsl.source import SourceFile


@frozen(kw_only=True)
class Fixed:
    """A text with edits made, and how many diagnostics these belong to."""

    text: str
    count: int


def fixed(source: SourceFile, diagnostics: Iterable[Diagnostic]) -> Fixed:
    """The text of a file after every diagnostic's edits in it, in order.

    A diagnostic's edits are made together or not at all: not where they reach into another file, or
    into what an earlier diagnostic changes.
    """
    taken: list[Edit] = []
    count = 0
    for diagnostic in diagnostics:
        if _fits(diagnostic.edits, taken, source):
            taken += diagnostic.edits
            count += 1
    text = source.text
    for edit in sorted(taken, key=lambda edit: edit.span.start, reverse=True):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    return Fixed(text=text, count=count)


def _fits(edits: tuple[Edit, ...], taken: list[Edit], source: SourceFile) -> bool:
    own = all(edit.span.file is source for edit in edits)
    return bool(edits) and own and not any(_meet(one, other) for one in edits for other in taken)


def _meet(one: Edit, other: Edit) -> bool:
    """Whether two edits change, or insert at, a common place."""
    return one.span.start <= other.span.end and other.span.start <= one.span.end
