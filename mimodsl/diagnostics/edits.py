"""Applies the edits of diagnostics to their source text."""

from collections.abc import Iterable

from attrs import frozen

from mimodsl.diagnostics.diagnostic import Diagnostic, Edit
from mimodsl.source import SourceFile


@frozen(kw_only=True)
class EditedText:
    """A text after edits, and the number of diagnostics whose edits were applied."""

    text: str
    count: int


def apply_edits(source: SourceFile, diagnostics: Iterable[Diagnostic]) -> EditedText:
    """Apply the edits of diagnostics to a file, in order.

    The edits of one diagnostic are applied together or not at all. They are not applied if they
    reach into another file or overlap the edits of an earlier diagnostic.
    """
    accepted: list[Edit] = []
    count = 0
    for diagnostic in diagnostics:
        if _fits(diagnostic.edits, accepted, source):
            accepted += diagnostic.edits
            count += 1
    text = source.text
    for edit in sorted(accepted, key=lambda edit: edit.span.start, reverse=True):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    return EditedText(text=text, count=count)


def _fits(edits: tuple[Edit, ...], accepted: list[Edit], source: SourceFile) -> bool:
    in_file = all(edit.span.file is source for edit in edits)
    overlaps = any(_overlap(edit, other) for edit in edits for other in accepted)
    return bool(edits) and in_file and not overlaps


def _overlap(edit: Edit, other: Edit) -> bool:
    """Whether two edits overlap or touch."""
    return edit.span.start <= other.span.end and other.span.start <= edit.span.end
