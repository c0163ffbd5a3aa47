"""Reads specs from JSON files, and refuses JSON that programs read in different ways."""

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
    """The spec of a JSON document; `None` after a report of each mistake at its place in the text.

    A document has no constants, so any override is a mistake.
    """
    for name in overrides:
        words = f"`--set {name}`: a JSON document has no constants"
        report(codes.SET_UNKNOWN.at(Span(source, 0, 0), words))
        return None
    try:
        document, places = _decoded(source)
    except ValueError as error:
        report(_not_json(source, error))
        return None

    def refuse(mistake: BadDocument) -> None:
        span, _ = places.spans[mistake.path]
        report(codes.NOT_A_DOCUMENT.at(span, str(mistake), help=mistake.help))

    return read_document(document, refuse, places.origin)


def _not_json(source: SourceFile, error: ValueError) -> Diagnostic:
    match error:
        case json.JSONDecodeError():
            span = Span(source, error.pos, min(error.pos + 1, len(source.text)))
            problem = f"this is not JSON: {error.msg}"
        case _AmbiguousJson():
            span, problem = error.span, error.problem
        case _:
            span, problem = Span(source, 0, 0), str(error)
    return codes.NOT_JSON.at(span, problem)


def decoded(text: str) -> Any:
    """The value of a JSON text. Raises `ValueError` for text that is not JSON, or ambiguous."""
    return _decoded(SourceFile("<json>", text))[0]


def _decoded(source: SourceFile) -> tuple[Any, "_Places"]:
    try:
        return json.loads(source.text), _Places.in_source(source)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


class _AmbiguousJson(ValueError):
    """JSON that Python accepts, but other programs refuse or read differently."""

    def __init__(self, span: Span, problem: str) -> None:
        super().__init__(f"{span}: {problem}")
        self.span, self.problem = span, problem


_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NOT_A_NUMBER: Final = re.compile(r"NaN|-?Infinity")
_DECODER: Final = json.JSONDecoder()


@frozen
class _Places:
    """The span of each value of a document in its text."""

    source: SourceFile
    spans: Mapping[DocumentPath, tuple[Span, Span]]
    """By path: the span of the value with its key, and the span of the value alone."""

    @classmethod
    def in_source(cls, source: SourceFile) -> "_Places":
        """The places in a text that Python reads as JSON. Raises `_AmbiguousJson`."""
        spans: dict[DocumentPath, tuple[Span, Span]] = {}
        start = _skip(source.text, 0)
        _record_spans(source, start, start, (), spans)
        return cls(source, spans)

    def value(self, path: DocumentPath) -> Span:
        return self.spans[path][1]

    def origin(self, path: DocumentPath, fields: tuple[str, ...]) -> Origin:
        """The origin of a node, with the spans of its fields and of their items."""
        places = {name: self.value((*path, name)) for name in fields}
        for name in fields:
            index = 0
            while (item := (*path, name, index)) in self.spans:
                places[f"{name}[{index}]"] = self.value(item)
                index += 1
        return Origin(span=self.value(path), name=places.get("name"), fields=places)


def _record_spans(
    source: SourceFile,
    start: int,
    value: int,
    path: DocumentPath,
    spans: dict[DocumentPath, tuple[Span, Span]],
) -> int:
    """Record the span of a value and of every value in it; returns where it ends."""
    text, opening = source.text, source.text[value]
    if opening in "{[":
        index, place = 0, _skip(text, value + 1)
        while text[place] not in "}]":
            key, inside = index, place
            if opening == "{":
                key, end = _DECODER.raw_decode(text, place)
                if (*path, key) in spans:
                    problem = f"the key `{key}` appears twice in one object"
                    raise _AmbiguousJson(Span(source, place, end), problem)
                inside = _skip(text, _skip(text, end) + 1)  # after the colon
            after = _skip(text, _record_spans(source, place, inside, (*path, key), spans))
            index, place = index + 1, _skip(text, after + 1) if text[after] == "," else after
        end = place + 1
    else:
        end = _DECODER.raw_decode(text, value)[1]
        if _NOT_A_NUMBER.match(text, value):
            span = Span(source, value, end)
            raise _AmbiguousJson(span, f"{span.text} is not a JSON number")
    spans[path] = Span(source, start, end), Span(source, value, end)
    return end


def _skip(text: str, place: int) -> int:
    """The offset of the next character that is not white space."""
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()
