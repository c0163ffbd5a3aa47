"""Converts diagnostics to the protocol's diagnostics, for an editor."""

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
    """Every diagnostic of a text and of the files that it uses.

    A diagnostic in a used file is shown at the `use`, with its own place as related information.
    """
    return [report(diagnostic, analysis) for diagnostic in analysis.checked.diagnostics]


def place(diagnostic: Diagnostic, analysis: Analysis) -> Span:
    """The span in the analysed text at which a diagnostic is shown."""
    where = diagnostic.primary.where
    if not isinstance(where, Span):
        return Span(analysis.source, 0, 0)
    if where.file is analysis.source:
        return where
    return _use(where.file, analysis) or Span(analysis.source, 0, 0)


def _use(file: SourceFile, analysis: Analysis) -> Span | None:
    """The path in the `use` that adds a file, directly or through others."""
    uses = analysis.main.file.declarations_of(ast.Use)
    for use, spec_file in zip(uses, analysis.main.used, strict=False):
        if any(used_file.file.source is file for used_file in spec_file.reach()):
            return use.path.span
    return None


def report(diagnostic: Diagnostic, analysis: Analysis) -> types.Diagnostic:
    return types.Diagnostic(
        range=analysis.positions.of(place(diagnostic, analysis)),
        message="\n".join(_lines(diagnostic)),
        severity=_SEVERITIES[diagnostic.severity],
        code=diagnostic.code,
        source=SOURCE,
        related_information=list(_related(diagnostic, analysis)) or None,
    )


def _lines(diagnostic: Diagnostic) -> Iterator[str]:
    yield diagnostic.message
    if diagnostic.primary.text:
        yield diagnostic.primary.text
    yield from (f"note: {note}" for note in diagnostic.notes)
    yield from (f"help: {line}" for line in diagnostic.help)


def _related(
    diagnostic: Diagnostic, analysis: Analysis
) -> Iterator[types.DiagnosticRelatedInformation]:
    """The other places of a diagnostic."""
    primary = diagnostic.primary.where
    elsewhere = isinstance(primary, Span) and primary.file is not analysis.source
    labels = (
        (Label(primary, diagnostic.message), *diagnostic.secondary)
        if elsewhere
        else diagnostic.secondary
    )
    for label in labels:
        if isinstance(label.where, Span):
            yield types.DiagnosticRelatedInformation(
                location=analysis.specs.location(label.where),
                message=label.text or "also here",
            )
