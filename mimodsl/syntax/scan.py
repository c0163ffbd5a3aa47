"""One pass over the text for what the grammar ignores: comments, brackets, first lines."""

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

_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|#[^\n]*|[\[({]|[\])}]')
_CLOSES = {"}": "{", ")": "(", "]": "["}

# A field may have a keyword as its name: `grid = llm`. An indented line may be inside a block, so
# it needs more evidence than a line that is not indented.
_DECLARATION_LINE = re.compile(
    rf"^(?:(?:{'|'.join(KEYWORDS)})\b(?![ \t]*[=,}}\])])"
    rf'|[ \t]+(?:{"|".join(KEYWORDS)})[ \t]+(?:"|\w))',
    re.MULTILINE,
)


@frozen(kw_only=True, eq=False)
class Scan:
    """Comments in order, brackets that are never closed, and the first too deep bracket."""

    comments: tuple[Span, ...]
    unclosed: tuple[Span, ...]
    too_deep: Span | None


def scan(source: SourceFile, start: int, end: int) -> Scan:
    """Scan part of a file. Brackets and `#` inside strings do not count."""
    comments: list[Span] = []
    openers: list[Span] = []
    too_deep: Span | None = None
    for match in _TOKEN.finditer(source.text, start, end):
        character = source.text[match.start()]
        span = Span(source, match.start(), match.end())
        if character == "#":
            comments.append(_without_carriage_return(span))
        elif character in "[({":
            openers.append(span)
            if len(openers) > MAX_DEPTH and too_deep is None:
                too_deep = span
        elif character in _CLOSES and openers and openers[-1].text == _CLOSES[character]:
            openers.pop()
    return Scan(comments=tuple(comments), unclosed=tuple(openers), too_deep=too_deep)


def _without_carriage_return(span: Span) -> Span:
    return Span(span.file, span.start, span.start + len(span.text.rstrip()))


def declaration_lines(source: SourceFile, start: int = 0) -> list[int]:
    """Offsets of lines that begin with a declaration's keyword, without parsing."""
    return [match.start() for match in _DECLARATION_LINE.finditer(source.text, start)]
