"""Diagnostics as an editor shows them."""

from collections.abc import Iterator
from typing import Final

from lsprotocol import types

from mimodsl.diagnostics import Diagnostic, Label, Severity
from mimodsl.lsp.specs import Analysis
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast

SOURCE: Final = "mimodsl"
_SEVERITIES: Final = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
}


def reports(analysis: Analysis) -> list[types.Diagnostic]:
    """Every mistake in a text and in what it uses.

    One that lies in a used file is shown at the `use` that brings it in, with its place beside it.
    """
    return [report(one, analysis) for one in analysis.checked.diagnostics]


def place(one: Diagnostic, analysis: Analysis) -> Span:
    """Where in the analysed text a diagnostic is shown."""
    where = one.primary.where
    if not isinstance(where, Span):
        return Span(analysis.source, 0, 0)
    if where.file is analysis.source:
        return where
    return _use(where.file, analysis) or Span(analysis.source, 0, 0)


def _use(file: SourceFile, analysis: Analysis) -> Span | None:
    """The path in the `use` that brings a file in, itself or through others."""
    uses = analysis.main.file.declarations_of(ast.Use)
    for use, spec_file in zip(uses, analysis.main.used, strict=False):
        if any(one.file.source is file for one in spec_file.reach()):
            return use.path.span
    return None


def report(one: Diagnostic, analysis: Analysis) -> types.Diagnostic:
    return types.Diagnostic(
        range=analysis.positions.of(place(one, analysis)),
        message="\n".join(_lines(one)),
        severity=_SEVERITIES[one.severity],
        code=one.code,
        source=SOURCE,
        related_information=list(_related(one, analysis)) or None,
    )


def _lines(one: Diagnostic) -> Iterator[str]:
    yield one.message
    if one.primary.text:
        yield one.primary.text
    yield from (f"note: {note}" for note in one.notes)
    yield from (f"help: {line}" for line in one.help)


def _related(one: Diagnostic, analysis: Analysis) -> Iterator[types.DiagnosticRelatedInformation]:
    """The places that a diagnostic names beside the one where it is shown."""
    own = one.primary.where
    elsewhere = isinstance(own, Span) and own.file is not analysis.source
    labels = (Label(own, one.message), *one.secondary) if elsewhere else one.secondary
    for label in labels:
        if isinstance(label.where, Span):
            yield types.DiagnosticRelatedInformation(
                location=analysis.specs.location(label.where),
                message=label.text or "this, too",
            )
