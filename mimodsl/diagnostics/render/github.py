"""Renders diagnostics as workflow commands, which GitHub shows beside changed lines."""

from collections.abc import Iterable

from mimodsl.diagnostics.diagnostic import Diagnostic
from mimodsl.source import Span


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """One `::error file=…,line=…,col=…,title=…::message` per diagnostic."""
    return "\n".join(map(_command, diagnostics))


def _command(diagnostic: Diagnostic) -> str:
    where = diagnostic.primary.where
    properties = {"title": f"mimodsl {diagnostic.code}"}
    if isinstance(where, Span):
        end_line, end_column = where.file.position(max(where.start, where.end - 1))
        properties = {
            "file": where.file.path,
            "line": str(where.line),
            "endLine": str(end_line),
            "col": str(where.column),
            "endColumn": str(end_column),
            **properties,
        }
    lines = [diagnostic.message]
    lines += [f"note: {note}" for note in diagnostic.notes]
    lines += [f"help: {line}" for line in diagnostic.help]
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{diagnostic.severity} {listed}::{_data(chr(10).join(lines))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
