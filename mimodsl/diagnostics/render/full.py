"""Renders diagnostics with excerpts of the source, in the layout of rustc."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from attrs import frozen

from mimodsl.diagnostics.diagnostic import Diagnostic, Label, Severity
from mimodsl.diagnostics.render.screen import one_line, screen_line
from mimodsl.source import SourceFile, Span

_RESET: Final = "\x1b[0m"
_BOLD: Final = "\x1b[1m"
_RED: Final = "\x1b[1;31m"
_YELLOW: Final = "\x1b[1;33m"
_BLUE: Final = "\x1b[1;34m"
_GREEN: Final = "\x1b[1;32m"


@frozen(kw_only=True)
class _Style:
    """The style of one diagnostic: with colour or without, and the width of line numbers."""

    color: bool
    severity: str
    gutter: int

    def paint(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self.color and text else text

    def bar(self, number: int | None = None) -> str:
        shown = "" if number is None else str(number)
        return self.paint(_BLUE, f" {shown:>{self.gutter}} |")

    def arrow(self, kind: str, target: str) -> str:
        return f" {'':{self.gutter}}{self.paint(_BLUE, kind)} {one_line(target)}"


@frozen(kw_only=True)
class _Mark:
    """An underline below part of one line, and the text after it."""

    line: int
    start: int
    end: int
    text: str
    primary: bool


def render(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """Each diagnostic in full, with a blank line between two; no line break at the end."""
    return "\n\n".join("\n".join(_lines(diagnostic, color)) for diagnostic in diagnostics)


def _lines(diagnostic: Diagnostic, color: bool) -> Iterator[str]:
    severity = _RED if diagnostic.severity is Severity.ERROR else _YELLOW
    marks = list(_marks(diagnostic))
    gutter = len(str(max((mark.line for _, mark in marks), default=1)))
    style = _Style(color=color, severity=severity, gutter=gutter)
    head = style.paint(severity, f"{diagnostic.severity}[{diagnostic.code}]")
    yield head + style.paint(_BOLD, f": {one_line(diagnostic.message)}")
    yield from _places(diagnostic, marks, style)
    for word, lines in (("note", diagnostic.notes), ("help", diagnostic.help)):
        for line in lines:
            word_painted = style.paint(_GREEN if word == "help" else _BOLD, word)
            yield f" {'':{gutter}} {style.paint(_BLUE, '=')} {word_painted}: {one_line(line)}"


def _places(
    diagnostic: Diagnostic, marks: list[tuple[SourceFile, _Mark]], style: _Style
) -> Iterator[str]:
    """The primary place first, then the other places by file."""
    primary = diagnostic.primary
    if isinstance(primary.where, Span):
        main = primary.where.file
        yield style.arrow("-->", str(primary.where))
        yield from _excerpt(main, [mark for file, mark in marks if file is main], style)
    else:
        yield style.arrow("-->", _described(primary))
        main = None
    for label in diagnostic.secondary:
        if not isinstance(label.where, Span):
            yield style.arrow(":::", _described(label))
    others = [(file, mark) for file, mark in marks if file is not main]
    for path, group in groupby(
        sorted(others, key=_by_path), key=lambda file_and_mark: file_and_mark[0].path
    ):
        file_marks = list(group)
        file, first = file_marks[0]
        yield style.arrow(":::", f"{path}:{first.line}:{first.start + 1}")
        yield from _excerpt(file, [mark for _, mark in file_marks], style)


def _by_path(file_and_mark: tuple[SourceFile, _Mark]) -> tuple[str, int, int]:
    file, mark = file_and_mark
    return file.path, mark.line, mark.start


def _described(label: Label) -> str:
    return f"{label.where}: {label.text}" if label.text else str(label.where)


def _marks(diagnostic: Diagnostic) -> Iterator[tuple[SourceFile, _Mark]]:
    for label in (diagnostic.primary, *diagnostic.secondary):
        if isinstance(label.where, Span):
            span = label.where
            for mark in _span_marks(span, label.text, label is diagnostic.primary):
                yield span.file, mark


def _span_marks(span: Span, text: str, primary: bool) -> Iterator[_Mark]:
    """One mark; two for a span of several lines: at its first and at its last line."""
    end = max(span.start, span.start + len(span.text.rstrip()))
    first, start_column = span.file.position(span.start)
    last, end_column = span.file.position(end)
    start = start_column - 1
    if first == last:
        yield _Mark(line=first, start=start, end=end_column - 1, text=text, primary=primary)
        return
    first_end = len(span.file.line(first))
    yield _Mark(line=first, start=start, end=first_end, text="", primary=primary)
    line = span.file.line(last)
    indent = len(line) - len(line.lstrip())
    yield _Mark(line=last, start=indent, end=end_column - 1, text=text, primary=primary)


def _excerpt(file: SourceFile, marks: list[_Mark], style: _Style) -> Iterator[str]:
    if not file.text:
        return  # the file is empty or cannot be read
    yield style.bar()
    previous: int | None = None
    ordered = sorted(marks, key=lambda mark: (mark.line, mark.start, mark.end))
    for number, group in groupby(ordered, key=lambda mark: mark.line):
        if previous is not None and number == previous + 2:
            yield from _line(file, previous + 1, [], style)
        elif previous is not None and number > previous + 1:
            yield style.paint(_BLUE, " ...")
        yield from _line(file, number, list(group), style)
        previous = number


def _line(file: SourceFile, number: int, marks: list[_Mark], style: _Style) -> Iterator[str]:
    screen = screen_line(file.line(number), focus=marks[0].start if marks else 0)
    yield f"{style.bar(number)} {screen.text}".rstrip()
    for mark in marks:
        start = screen.column(mark.start)
        width = max(1, screen.column(mark.end) - start)
        underline = ("^" if mark.primary else "-") * width + (
            f" {one_line(mark.text)}" if mark.text else ""
        )
        painted = style.paint(style.severity if mark.primary else _BLUE, underline)
        yield f"{style.bar()} {'':{start}}{painted}"
