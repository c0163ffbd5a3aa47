"""Specs of JSON files: text to a document with no doubt in it, and the document to a spec."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.ir.document import BadDocument, DocumentPath, from_document
from mimodsl.ir.node import Origin
from mimodsl.ir.spec import Spec
from mimodsl.source import SourceFile, Span

_TOO_DEEP: Final = "brackets are nested too deeply"


def read_json(source: SourceFile, overrides: Mapping[str, str]) -> Spec | Diagnostic:
    """The spec of a JSON document, or what is wrong with it, at its place in the text. A document
    has no constants to override."""
    start = Span(source, 0, 0)
    for name in overrides:
        return codes.SET_UNKNOWN.at(start, f"`--set {name}`: a JSON document has no constants")
    try:
        document = decoded(source.text)
        places = _Places.of(source)
    except json.JSONDecodeError as error:
        place = Span(source, error.pos, min(error.pos + 1, len(source.text)))
        return codes.NOT_JSON.at(place, f"this is not JSON: {error.msg}")
    except ValueError as error:
        return codes.NOT_JSON.at(start, str(error))
    except RecursionError:
        return codes.NOT_JSON.at(start, _TOO_DEEP)
    try:
        return from_document(document, places.origin)
    except BadDocument as error:
        return codes.NOT_A_DOCUMENT.at(places.spans[error.path][0], str(error), help=error.help)


def decoded(text: str) -> Any:
    """The one thing that a JSON text can mean. Raises `ValueError` where it is none or unclear."""
    try:
        return json.loads(text, object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


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


@frozen
class _Places:
    """Where all that is in a document stands in its text."""

    source: SourceFile
    spans: Mapping[DocumentPath, tuple[Span, Span]]
    """By path: the value with its key, and the value."""

    @classmethod
    def of(cls, source: SourceFile) -> "_Places":
        """The places in a text that is JSON."""
        spans: dict[DocumentPath, tuple[Span, Span]] = {}
        start = _skip(source.text, 0)
        _note(source, start, start, (), spans)
        return cls(source, spans)

    def value(self, path: DocumentPath) -> Span:
        return self.spans[path][1]

    def origin(self, path: DocumentPath, fields: tuple[str, ...]) -> Origin:
        """The origin of a node, with the places of its fields and of their items."""
        places = {name: self.value((*path, name)) for name in fields}
        for name in fields:
            index = 0
            while (item := (*path, name, index)) in self.spans:
                places[f"{name}[{index}]"] = self.value(item)
                index += 1
        return Origin(span=self.value(path), name=places.get("name"), fields=places)


def _note(
    source: SourceFile,
    start: int,
    value: int,
    path: DocumentPath,
    spans: dict[DocumentPath, tuple[Span, Span]],
) -> int:
    """Notes where a value, and all in it, stands; returns where it ends."""
    text, opening = source.text, source.text[value]
    if opening in "{[":
        index, place = 0, _skip(text, value + 1)
        while text[place] not in "}]":
            key, inside = index, place
            if opening == "{":
                key, end = _DECODER.raw_decode(text, place)
                inside = _skip(text, _skip(text, end) + 1)  # behind the colon
            after = _skip(text, _note(source, place, inside, (*path, key), spans))
            index, place = index + 1, _skip(text, after + 1) if text[after] == "," else after
        end = place + 1
    else:
        end = _DECODER.raw_decode(text, value)[1]
    spans[path] = Span(source, start, end), Span(source, value, end)
    return end


def _skip(text: str, place: int) -> int:
    """The next place that is not between two tokens."""
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()
