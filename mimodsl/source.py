"""Source files, and spans of their text."""

from bisect import bisect_right
from functools import cached_property

from attrs import field, frozen


@frozen(eq=False, slots=False)
class SourceFile:
    """A `.mimo` file and its text; `path` is the name that users see."""

    path: str
    text: str = field(repr=False)

    @cached_property
    def _line_starts(self) -> tuple[int, ...]:
        breaks = (i + 1 for i, character in enumerate(self.text) if character == "\n")
        return (0, *breaks)

    @property
    def line_count(self) -> int:
        return len(self._line_starts)

    def position(self, offset: int) -> tuple[int, int]:
        """The line and column of an offset, both from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of line `number` (from 1), without its line break."""
        start = self._line_starts[number - 1]
        end = self._line_starts[number] if number < self.line_count else len(self.text)
        return self.text[start:end].rstrip("\r\n")


@frozen
class Span:
    """The characters from `start` to `end` (exclusive) of a file."""

    file: SourceFile
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.file.text[self.start : self.end]

    @property
    def line(self) -> int:
        return self.file.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.file.position(self.start)[1]

    def to(self, other: "Span") -> "Span":
        """The span from the start of this span to the end of the other."""
        return Span(self.file, self.start, other.end)

    def __str__(self) -> str:
        return f"{self.file.path}:{self.line}:{self.column}"
