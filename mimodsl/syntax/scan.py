"""One pass over raw text for what the grammar does not see: comments, brackets, first lines."""

import re
from typing import Final

from attrs import frozen

from mimodsl.limits import MAX_DEPTH
from mimodsl.source import SourceFile, Span

KEYWORDS: Final = (
    "use",
    "let",
    "grid",
    "place",
    "preset",
    "module",
    "flow",
    "schedule",
    "train",
)

_PIECE = re.compile(r'"(?:\\.|[^"\\\n])*"|#[^\n]*|[\[({]|[\])}]')
_CLOSES = {"}": "{", ")": "(", "]": "["}

# A field may be called like a keyword: `grid = llm`. An indented line may lie inside a block, so it
# must show more than one at the margin.
_DECLARATION_LINE = re.compile(
    rf"^(?:(?:{'|'.join(KEYWORDS)})\b(?![ \t]*[=,}}\])])"
    rf'|[ \t]+(?:{"|".join(KEYWORDS)})[ \t]+(?:"|\w))',
    re.MULTILINE,
)


@frozen(kw_only=True)
class Scan:
    """Comments in order, brackets that nothing closes, and the first that is nested too deeply."""

    comments: tuple[Span, ...]
    unclosed: tuple[Span, ...]
    too_deep: Span | None


def scan(source: SourceFile, start: int, end: int) -> Scan:
    """Scan part of a file; strings are stepped over."""
    comments: list[Span] = []
    openers: list[Span] = []
    too_deep: Span | None = None
    for match in _PIECE.finditer(source.text, start, end):
        first = source.text[match.start()]
        span = Span(source, match.start(), match.end())
        if first == "#":
            comments.append(_without_carriage_return(span))
        elif first in "[({":
            openers.append(span)
            if len(openers) > MAX_DEPTH and too_deep is None:
                too_deep = span
        elif first in _CLOSES and openers and openers[-1].text == _CLOSES[first]:
            openers.pop()
    return Scan(comments=tuple(comments), unclosed=tuple(openers), too_deep=too_deep)


def _without_carriage_return(span: Span) -> Span:
    return Span(span.file, span.start, span.start + len(span.text.rstrip()))


def declaration_lines(source: SourceFile, start: int = 0) -> list[int]:
    """Where lines start that begin with a declaration's keyword, judged without parsing."""
    return [match.start() for match in _DECLARATION_LINE.finditer(source.text, start)]
