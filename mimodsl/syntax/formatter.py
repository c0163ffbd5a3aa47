"""The one style of `.mimo` text: indented, aligned, and with every comment where it belongs."""

import re
from itertools import zip_longest
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.layout import INDENT, Entry, Piece, Region, indented
from mimodsl.syntax.parser import parse_source

WIDEST: Final = 100


@frozen(kw_only=True)
class Formatted:
    """The text in the one style; `None` where it does not parse, with the reasons."""

    text: str | None
    diagnostics: tuple[Diagnostic, ...]


def format_source(source: SourceFile) -> Formatted:
    """Format a file. Broken text is refused, never changed."""
    parsed = parse_source(source)
    if parsed.diagnostics:
        return Formatted(text=None, diagnostics=parsed.diagnostics)
    return Formatted(text=format_file(parsed.file), diagnostics=())


def format_file(file: ast.File) -> str:
    """The text of a file that parsed well."""
    lines = _Formatter(source=file.source, comments=file.comments).file(file)
    return "".join(f"{line}\n" for line in lines)


@frozen(kw_only=True)
class _Formatter:
    source: SourceFile
    comments: tuple[Span, ...]

    def file(self, file: ast.File) -> tuple[str, ...]:
        runs = _let_widths(file)
        entries = [
            Entry(
                span=one.span,
                piece=self._declaration(one, runs.get(id(one), 0)),
                group=ast.keyword(one) if isinstance(one, ast.Use | ast.Let) else "",
            )
            for one in file.declarations
        ]
        return self._region(0, len(self.source.text)).body(entries, blank_between=True)

    def _region(self, start: int, end: int) -> Region:
        return Region(source=self.source, start=start, end=end, comments=self.comments)

    # Declarations.

    def _declaration(self, one: ast.Declaration, width: int) -> Piece:
        match one:
            case ast.Use():
                piece = _line(f"use {one.path.span.text}")
            case ast.Let():
                prefix = f"let {one.name.text:{width}} = "
                piece = self._value(one.value, 0, len(prefix)).after(prefix)
            case ast.Grid():
                piece = self._grid(one)
            case ast.Place():
                piece = _line(f"place {_placement(one.placement)}")
            case ast.Preset() | ast.Module():
                header = f"{ast.keyword(one)} {one.name} : {one.base}"
                piece = self._headed(header, one.block)
            case ast.Flow():
                piece = self._headed(f"flow {' -> '.join(map(str, one.path))}", one.block)
            case ast.Schedule():
                piece = self._headed(f"schedule {one.kind}", one.block)
            case ast.Train():
                piece = self._headed("train", one.block)
        return piece

    def _headed(self, header: str, block: ast.Block | None) -> Piece:
        return _line(header) if block is None else self._block(block, indent=0).after(f"{header} ")

    def _grid(self, grid: ast.Grid) -> Piece:
        width = max((len(_grid_key(field)) for field in grid.fields), default=0)
        columns = _columns([field for field in grid.fields if isinstance(field, ast.View)])
        entries = [
            Entry(
                span=field.span,
                piece=(
                    _line(_view(field, columns))
                    if isinstance(field, ast.View)
                    else self._value(field.value, len(INDENT), width + 3)
                ).after(f"{_grid_key(field):{width}} = "),
            )
            for field in grid.fields
        ]
        start = self.source.text.index("{", grid.name.span.end)
        return self._bracketed(entries, start, grid.span.end).after(f"grid {grid.name} ")

    # Values.

    def _value(self, value: ast.Value, indent: int, before: int) -> Piece:
        """A value on a line that is indented and has `before` characters before the value.

        Blocks and lists stay on one line where they are written so and fit.
        """
        text = _inline(value)
        fits = "\n" not in value.span.text and indent + before + len(text) <= WIDEST
        if fits or not isinstance(value, ast.Block | ast.List):
            return _line(text)
        if isinstance(value, ast.Block):
            return self._block(value, indent)
        return self._list(value, indent)

    def _block(self, block: ast.Block, indent: int) -> Piece:
        inside = indent + len(INDENT)
        width = max((len(field.key.text) for field in block.fields), default=0)
        entries = [
            Entry(
                span=field.span,
                piece=self._value(field.value, inside, width + 3).after(
                    f"{field.key.text:{width}} = "
                ),
            )
            for field in block.fields
        ]
        tag = f"{block.tag} " if block.tag else ""
        after_tag = block.tag.span.end if block.tag else block.span.start
        start = self.source.text.index("{", after_tag)
        return self._bracketed(entries, start, block.span.end).after(tag)

    def _list(self, value: ast.List, indent: int) -> Piece:
        entries = [
            Entry(
                span=item.span, piece=self._value(item, indent + len(INDENT), 0).before_break(",")
            )
            for item in value.items
        ]
        return self._bracketed(entries, value.span.start, value.span.end)

    def _bracketed(self, entries: list[Entry], start: int, end: int) -> Piece:
        """Entries on lines of their own between the brackets at `start` and `end - 1`."""
        opening, closing = self.source.text[start], self.source.text[end - 1]
        region = self._region(start + 1, end - 1)
        first = opening + region.opening(entries)
        body = region.body(entries)
        lines = (first, *indented(body), closing)
        if lines == (opening, closing):
            lines = (opening + closing,)
        return Piece(lines=lines, inner=(Span(self.source, start, end),))


def _line(text: str) -> Piece:
    return Piece(lines=(text,))


_BLANK_LINE: Final = re.compile(r"\n[ \t\r\f]*\n")


def _let_widths(file: ast.File) -> dict[int, int]:
    """How wide the names of constants in lines below each other are made, by identity."""
    widths: dict[int, int] = {}
    run: list[ast.Let] = []
    for one, following in zip_longest(file.declarations, file.declarations[1:]):
        if not isinstance(one, ast.Let):
            continue
        run.append(one)
        between = file.source.text[one.span.end : following.span.start] if following else ""
        if not isinstance(following, ast.Let) or _BLANK_LINE.search(between):
            width = max(len(let.name.text) for let in run)
            widths |= {id(let): width for let in run}
            run = []
    return widths


# Text on one line.


def _grid_key(field: ast.Ranks | ast.View) -> str:
    return field.name.text if isinstance(field, ast.View) else "ranks"


def _columns(views: list[ast.View]) -> list[int]:
    """The widths of the columns that the axes of a grid's views stand in."""
    rows = [[_axis(axis) for axis in view.axes] for view in views]
    return [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]


def _view(view: ast.View, columns: list[int]) -> str:
    axes = (f"{_axis(axis):{width}}" for axis, width in zip(view.axes, columns, strict=False))
    return " * ".join(axes).rstrip()


def _axis(axis: ast.Axis) -> str:
    return axis.name.text if axis.size is None else f"{axis.name}:{_inline(axis.size)}"


def _placement(placement: ast.Placement) -> str:
    match placement:
        case ast.Placed():
            return placement.name.text
        case ast.Parenthesised():
            return f"({_placement(placement.inner)})"
        case ast.Beside():
            return " | ".join(map(_placement, placement.parts))
        case ast.Together():
            return " & ".join(map(_placement, placement.parts))


def _inline(value: ast.Value) -> str:
    match value:
        case ast.Group():
            text = f"({_inline(value.value)})"
        case ast.Negation():
            text = f"-{_inline(value.operand)}"
        case ast.Arithmetic():
            rest = (f" {symbol} {_inline(operand)}" for symbol, operand in value.rest)
            text = _inline(value.first) + "".join(rest)
        case ast.List():
            text = f"[{', '.join(map(_inline, value.items))}]"
        case ast.Block():
            fields = ", ".join(f"{field.key} = {_inline(field.value)}" for field in value.fields)
            tag = f"{value.tag} " if value.tag else ""
            text = f"{tag}{{ {fields} }}" if fields else f"{tag}{{}}"
        case _:
            text = value.span.text
    return text
