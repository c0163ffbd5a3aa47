"""Specs of JSON files: text to a document with no doubt in it, and the document to a spec."""

import json
import re
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, NoReturn, cast

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.ir.document import BadDocument, DocumentPath, from_document
from mimodsl.ir.spec import Spec
from mimodsl.source import SourceFile, Span


def read_json(source: SourceFile, overrides: Mapping[str, str]) -> Spec | Diagnostic:
    """The spec of a JSON document, or what is wrong with it, at its place in the text. A document
    has no constants to override."""
    start = Span(source, 0, 0)
    for name in overrides:
        return codes.SET_UNKNOWN.at(start, f"`--set {name}`: a JSON document has no constants")
    try:
        return from_document(decoded(source.text))
    except json.JSONDecodeError as error:
        place = Span(source, error.pos, min(error.pos + 1, len(source.text)))
        return codes.NOT_JSON.at(place, f"this is not JSON: {error.msg}")
    except BadDocument as error:
        span = Span(source, *_place(source.text, error.path))
        return codes.NOT_A_DOCUMENT.at(span, str(error), help=error.help)
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


_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


def _place(text: str, path: DocumentPath) -> tuple[int, int]:
    """From where to where the text of a document says what lies at a path, with its key."""
    start = value = _skip(text, 0)
    for step in path:
        start, value = _member(text, value, step)
    return start, _after(text, value)


def _member(text: str, opening: int, step: str | int) -> tuple[int, int]:
    """Where a member of the object or list that opens there begins, and where its value does."""
    start = _skip(text, opening + 1)
    for index in count():
        key, value = index, start
        if isinstance(step, str):
            key, end = cast("tuple[str, int]", _DECODER.raw_decode(text, start))
            value = _skip(text, _skip(text, end) + 1)  # behind the colon
        if key == step:
            return start, value
        start = _skip(text, _skip(text, _after(text, value)) + 1)  # behind the comma
    raise AssertionError("a path of the document leads to what is in it")


def _after(text: str, value: int) -> int:
    """Where the value that begins there ends."""
    return _DECODER.raw_decode(text, value)[1]


def _skip(text: str, place: int) -> int:
    """The next place that is not between two tokens."""
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()
