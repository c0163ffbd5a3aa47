"""Converts offsets to positions of the protocol: from 0, in lines and units of an encoding."""

import re
from bisect import bisect_right
from functools import cached_property
from typing import Final

from attrs import frozen
from lsprotocol import types

from mimodsl.source import SourceFile, Span

_BREAK: Final = re.compile(r"\r\n|\n|\r")
_CODECS: Final = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
"""By the name of an encoding: Python's codec, and the bytes of one unit."""


@frozen(kw_only=True, slots=False)
class TextPositions:
    """Converts offsets of a text to positions and back.

    `encoding` is the encoding that client and server agreed on; by default UTF-16.
    """

    text: str
    encoding: str = "utf-16"

    @cached_property
    def _lines(self) -> tuple[tuple[int, int], ...]:
        """The start of each line, and its end before the line break."""
        breaks = list(_BREAK.finditer(self.text))
        starts = [0, *(line_break.end() for line_break in breaks)]
        ends = [*(line_break.start() for line_break in breaks), len(self.text)]
        return tuple(zip(starts, ends, strict=True))

    def offset(self, position: types.Position) -> int:
        """The offset of a position; a position beyond the end of a line means its end."""
        if position.line >= len(self._lines):
            return len(self.text)
        start, end = self._lines[position.line]
        codec, size = _CODECS[self.encoding]
        line = self.text[start:end].encode(codec, "surrogatepass")
        before = line[: position.character * size]
        return start + len(before.decode(codec, "ignore"))

    def position(self, offset: int) -> types.Position:
        line = bisect_right(self._lines, offset, key=lambda bounds: bounds[0]) - 1
        start, end = self._lines[line]
        codec, size = _CODECS[self.encoding]
        before = self.text[start : min(offset, end)].encode(codec, "surrogatepass")
        return types.Position(line=line, character=len(before) // size)

    def range(self, start: int, end: int) -> types.Range:
        return types.Range(start=self.position(start), end=self.position(end))

    def of(self, span: Span) -> types.Range:
        """The range of a span of this text."""
        return self.range(span.start, span.end)

    def span(self, source: SourceFile, range: types.Range) -> Span:
        """The span of a range of this text."""
        return Span(source, self.offset(range.start), self.offset(range.end))
