"""Renders each diagnostic on one line: `path:line:col: error[CODE] message`."""

from collections.abc import Iterable

from mimodsl.diagnostics.diagnostic import Diagnostic
from mimodsl.diagnostics.render.screen import one_line


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """The lines, without a line break at the end."""
    return "\n".join(
        one_line(
            f"{diagnostic.primary.where}: "
            f"{diagnostic.severity}[{diagnostic.code}] {diagnostic.message}"
        )
        for diagnostic in diagnostics
    )
