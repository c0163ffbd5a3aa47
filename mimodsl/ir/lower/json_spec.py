"""Specs of JSON files: text to a document with no doubt in it, and the document to a spec."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from mimodsl.diagnostics import Diagnostic, Label, ObjectPath, codes
from mimodsl.ir.document import BadDocument, from_document
from mimodsl.ir.spec import Spec
from mimodsl.source import SourceFile, Span


def read_json(source: SourceFile, overrides: Mapping[str, str]) -> Spec | Diagnostic:
    """The spec of a JSON document, or what is wrong with it: at its place in the text where the
    text is no JSON, else at the path of the object. A document has no constants to override."""
    start = Span(source, 0, 0)
    for name in overrides:
        return codes.SET_UNKNOWN.at(start, f"`--set {name}`: a JSON document has no constants")
    try:
        return from_document(decoded(source.text))
    except json.JSONDecodeError as error:
        place = Span(source, error.pos, min(error.pos + 1, len(source.text)))
        return codes.NOT_JSON.at(place, f"this is not JSON: {error.msg}")
    except BadDocument as error:
        return _at(error, source)
    except ValueError as error:
        return codes.NOT_JSON.at(start, str(error))


def decoded(text: str) -> Any:
    """The one thing that a JSON text can mean. Raises `ValueError` where it is none or unclear."""
    try:
        return json.loads(text, object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key `{key}` stands twice in one object")
        found[key] = value
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _at(error: BadDocument, source: SourceFile) -> Diagnostic:
    path = f"{source.path}: {error.path}" if error.path else source.path
    return Diagnostic(
        code=codes.NOT_A_DOCUMENT.id,
        message=error.message,
        primary=Label(ObjectPath(path)),
        help=error.help,
    )
