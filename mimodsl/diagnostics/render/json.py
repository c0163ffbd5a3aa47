"""Renders diagnostics as JSON, for editors and scripts."""

import json
from collections.abc import Iterable
from typing import Any

from mimodsl.diagnostics.diagnostic import Diagnostic, Label, Where
from mimodsl.source import Span


def objects(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """The plain objects that `render` writes as JSON.

    Offsets count characters from 0; ends are exclusive. Lines and columns count from 1. A spec made
    in Python has only a `path`.
    """
    return [_object(diagnostic) for diagnostic in diagnostics]


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """A JSON list."""
    return json.dumps(objects(diagnostics), indent=2, ensure_ascii=False)


def _object(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "code": diagnostic.code,
        "severity": str(diagnostic.severity),
        "message": diagnostic.message,
        "primary": _label(diagnostic.primary),
        "secondary": [_label(label) for label in diagnostic.secondary],
        "notes": list(diagnostic.notes),
        "help": list(diagnostic.help),
        "edits": [
            {**_where(edit.span), "replacement": edit.replacement} for edit in diagnostic.edits
        ],
    }


def _label(label: Label) -> dict[str, Any]:
    return {**_where(label.where), "text": label.text}


def _where(where: Where) -> dict[str, Any]:
    if not isinstance(where, Span):
        return {"path": where.path}
    end_line, end_column = where.file.position(where.end)
    return {
        "file": where.file.path,
        "start": {"offset": where.start, "line": where.line, "column": where.column},
        "end": {"offset": where.end, "line": end_line, "column": end_column},
    }
