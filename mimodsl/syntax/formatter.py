"""Formats `.mimo` text: indents, aligns, and keeps every comment at its construct."""

import re
from itertools import zip_longest
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.layout import INDENT, Entry, Fragment, Region, indented
from mimodsl.syntax.parser import parse_source

MAX_WIDTH: Final = 100


@frozen(kw_only=True)
class Formatted:
    """The formatted text; `None` for text with syntax errors, with their diagnostics."""

    text: str | None
    diagnostics: tuple[Diagnostic, ...]


def format_source(source: SourceFile) -> Formatted:
    """Format a file. A file with syntax errors stays unchanged."""
    parsed = parse_source(source)
    if parsed.diagnostics:
        return Formatted(text=None, diagnostics=parsed.diagnostics)
    return Formatted(text=format_file(parsed.file), diagnostics=())


def format_file(file: ast.File) -> str:
    """The formatted text of a file without syntax errors."""
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
                span=declaration.span,
                fragment=self._declaration(declaration, runs.get(id(declaration), 0)),
                group=ast.keyword(declaration)
                if isinstance(declaration, ast.Use | ast.Let)
                else "",
            )
            for declaration in file.declarations
        ]
        return self._region(0, len(self.source.text)).body(entries, blank_between=True)

    def _region(self, start: int, end: int) -> Region:
        return Region(source=self.source, start=start, end=end, comments=self.comments)

    # Declarations.

    def _declaration(self, declaration: ast.Declaration, width: int) -> Fragment:
        match declaration:
            case ast.Use():
                fragment = _line(f"use {declaration.path.span.text}")
            case ast.Let():
                prefix = f"let {declaration.name.text:{width}} = "
                fragment = self._value(declaration.value, 0, len(prefix)).after(prefix)
            case ast.Grid():
                fragment = self._grid(declaration)
            case ast.Place():
                fragment = _line(f"place {_placement(declaration.placement)}")
            case ast.Preset() | ast.Module():
                header = f"{ast.keyword(declaration)} {declaration.name} : {declaration.base}"
                fragment = self._headed(header, declaration.block)
            case ast.Flow():
                fragment = self._headed(
                    f"flow {' -> '.join(map(str, declaration.path))}", declaration.block
                )
            case ast.Schedule():
                fragment = self._headed(f"schedule {declaration.kind}", declaration.block)
            case ast.Train():
                fragment = self._headed("train", declaration.block)
        return fragment

    def _headed(self, header: str, block: ast.Block | None) -> Fragment:
        return _line(header) if block is None else self._block(block, indent=0).after(f"{header} ")

    def _grid(self, grid: ast.Grid) -> Fragment:
        width = max((len(_grid_key(field)) for field in grid.fields), default=0)
        columns = _columns([field for field in grid.fields if isinstance(field, ast.View)])
        entries = [
            Entry(
                span=field.span,
                fragment=(
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

    def _value(self, value: ast.Value, indent: int, before: int) -> Fragment:
        """Format a value that follows `before` characters on a line with `indent`.

        A block or list stays on one line if it is written on one line and fits.
        """
        text = _inline(value)
        fits = "\n" not in value.span.text and indent + before + len(text) <= MAX_WIDTH
        if fits or not isinstance(value, ast.Block | ast.List):
            return _line(text)
        if isinstance(value, ast.Block):
            return self._block(value, indent)
        return self._list(value, indent)

    def _block(self, block: ast.Block, indent: int) -> Fragment:
        inside = indent + len(INDENT)
        width = max((len(field.key.text) for field in block.fields), default=0)
        entries = [
            Entry(
                span=field.span,
                fragment=self._value(field.value, inside, width + 3).after(
                    f"{field.key.text:{width}} = "
                ),
            )
            for field in block.fields
        ]
        tag = f"{block.tag} " if block.tag else ""
        after_tag = block.tag.span.end if block.tag else block.span.start
        start = self.source.text.index("{", after_tag)
        return self._bracketed(entries, start, block.span.end).after(tag)

    def _list(self, value: ast.List, indent: int) -> Fragment:
        entries = [
            Entry(
                span=item.span,
                fragment=self._value(item, indent + len(INDENT), 0).before_break(","),
            )
            for item in value.items
        ]
        return self._bracketed(entries, value.span.start, value.span.end)

    def _bracketed(self, entries: list[Entry], start: int, end: int) -> Fragment:
        """Format entries on their own lines between the brackets at `start` and `end - 1`."""
        opening, closing = self.source.text[start], self.source.text[end - 1]
        region = self._region(start + 1, end - 1)
        first = opening + region.opening(entries)
        body = region.body(entries)
        lines = (first, *indented(body), closing)
        if lines == (opening, closing):
            lines = (opening + closing,)
        return Fragment(lines=lines, inner=(Span(self.source, start, end),))


def _line(text: str) -> Fragment:
    return Fragment(lines=(text,))


_BLANK_LINE: Final = re.compile(r"\n[ \t\r\f]*\n")


def _let_widths(file: ast.File) -> dict[int, int]:
    """The width of the name column for each constant, by `id`, in runs of adjacent constants."""
    widths: dict[int, int] = {}
    run: list[ast.Let] = []
    for declaration, following in zip_longest(file.declarations, file.declarations[1:]):
        if not isinstance(declaration, ast.Let):
            continue
        run.append(declaration)
        between = file.source.text[declaration.span.end : following.span.start] if following else ""
        if not isinstance(following, ast.Let) or _BLANK_LINE.search(between):
            width = max(len(let.name.text) for let in run)
            widths |= {id(let): width for let in run}
            run = []
    return widths


# Text on one line.


def _grid_key(field: ast.Ranks | ast.View) -> str:
    return field.name.text if isinstance(field, ast.View) else "ranks"


def _columns(views: list[ast.View]) -> list[int]:
    """The widths of the columns in which the axes of a grid's views are aligned."""
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
        case ast.ParenthesisedPlacement():
            return f"({_placement(placement.inner)})"
        case ast.Beside():
            return " | ".join(map(_placement, placement.parts))
        case ast.Together():
            return " & ".join(map(_placement, placement.parts))


def _inline(value: ast.Value) -> str:
    match value:
        case ast.ParenthesisedValue():
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
