"""One line a diagnostic: `path:line:col: error[CODE] message`."""

from collections.abc import Iterable

from mimodsl.diagnostics.diagnostic import Diagnostic
from mimodsl.diagnostics.render.screen import one_line


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """The lines, without a line break at the end."""
    return "\n".join(
        one_line(f"{one.primary.where}: {one.severity}[{one.code}] {one.message}")
        for one in diagnostics
    )
