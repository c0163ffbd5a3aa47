"""Specs of JSON files: text to a document with no doubt in it, and the document to a spec."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.ir.node import Origin
from mimodsl.ir.spec import Spec
from mimodsl.lower.document import BadDocument, DocumentPath, read_document
from mimodsl.lower.names import Report
from mimodsl.source import SourceFile, Span


def read_json(source: SourceFile, overrides: Mapping[str, str], report: Report) -> Spec | None:
    """The spec of a JSON document, or `None` after a report of what is wrong with it, each at its
    place in the text. A document has no constants to override."""
    for name in overrides:
        words = f"`--set {name}`: a JSON document has no constants"
        report(codes.SET_UNKNOWN.at(Span(source, 0, 0), words))
        return None
    try:
        document, places = _decoded(source)
    except ValueError as error:
        report(_no_json(source, error))
        return None

    def refuse(mistake: BadDocument) -> None:
        span, _ = places.spans[mistake.path]
        report(codes.NOT_A_DOCUMENT.at(span, str(mistake), help=mistake.help))

    return read_document(document, refuse, places.origin)


def _no_json(source: SourceFile, error: ValueError) -> Diagnostic:
    match error:
        case json.JSONDecodeError():
            span = Span(source, error.pos, min(error.pos + 1, len(source.text)))
            problem = f"this is not JSON: {error.msg}"
        case _Unclear():
            span, problem = error.span, error.problem
        case _:
            span, problem = Span(source, 0, 0), str(error)
    return codes.NOT_JSON.at(span, problem)


def decoded(text: str) -> Any:
    """The one thing that a JSON text can mean. Raises `ValueError` where it is none or unclear."""
    return _decoded(SourceFile("<json>", text))[0]


def _decoded(source: SourceFile) -> tuple[Any, "_Places"]:
    try:
        return json.loads(source.text), _Places.of(source)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


class _Unclear(ValueError):
    """What Python reads as JSON, and others may not, or not alike."""

    def __init__(self, span: Span, problem: str) -> None:
        super().__init__(f"{span}: {problem}")
        self.span, self.problem = span, problem


_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NO_NUMBER: Final = re.compile(r"NaN|-?Infinity")
_DECODER: Final = json.JSONDecoder()


@frozen
class _Places:
    """Where all that is in a document stands in its text."""

    source: SourceFile
    spans: Mapping[DocumentPath, tuple[Span, Span]]
    """By path: the value with its key, and the value."""

    @classmethod
    def of(cls, source: SourceFile) -> "_Places":
        """The places in a text that Python reads as JSON. Raises `_Unclear`."""
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
                if (*path, key) in spans:
                    problem = f"the key `{key}` stands twice in one object"
                    raise _Unclear(Span(source, place, end), problem)
                inside = _skip(text, _skip(text, end) + 1)  # behind the colon
            after = _skip(text, _note(source, place, inside, (*path, key), spans))
            index, place = index + 1, _skip(text, after + 1) if text[after] == "," else after
        end = place + 1
    else:
        end = _DECODER.raw_decode(text, value)[1]
        if _NO_NUMBER.match(text, value):
            span = Span(source, value, end)
            raise _Unclear(span, f"{span.text} is no number of JSON")
    spans[path] = Span(source, start, end), Span(source, value, end)
    return end


def _skip(text: str, place: int) -> int:
    """The next place that is not between two tokens."""
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()
