"""Hover: the meaning, value, ranks and mistakes of the text at the cursor."""

from collections.abc import Iterator
from typing import Final

from attrs import frozen
from lsprotocol import types

from mimodsl.ir.flow import Flow
from mimodsl.ir.node import Node
from mimodsl.ir.registry import known_kind
from mimodsl.ir.schedule import Schedule, ScheduleKind
from mimodsl.ir.train import Train
from mimodsl.lower.constants import Environment, evaluate_lets
from mimodsl.lower.evaluate import FAILED
from mimodsl.lower.names import LostDeclarations, NameScopes
from mimodsl.lsp.describe import choice_page, class_page, constant, field_page, rule_page
from mimodsl.lsp.names import (
    Fields,
    Symbol,
    block_class_of,
    fields_of,
    inner_class,
    inner_fields,
    kind_of,
)
from mimodsl.lsp.ranks import grid_page
from mimodsl.lsp.reports import place
from mimodsl.lsp.specs import Analysis
from mimodsl.source import Span
from mimodsl.syntax import ast

_DECLARED: Final[dict[type[ast.Declaration], type[Node]]] = {
    ast.Flow: Flow,
    ast.Schedule: Schedule,
    ast.Train: Train,
}


@frozen
class HoverText:
    """A text in Markdown, and the span that it describes."""

    text: str
    span: Span


def hover(analysis: Analysis, position: types.Position) -> types.Hover | None:
    """The hover text at a position, with the pages of the mistakes there."""
    offset = analysis.positions.offset(position)
    about = _about(analysis, offset)
    pages = list(_mistakes(analysis, offset))
    texts = [*([about.text] if about else []), *pages]
    if not texts:
        return None
    return types.Hover(
        contents=types.MarkupContent(
            kind=types.MarkupKind.Markdown, value="\n\n---\n\n".join(texts)
        ),
        range=analysis.positions.of(about.span) if about else None,
    )


def _mistakes(analysis: Analysis, offset: int) -> Iterator[str]:
    """The page of each code whose diagnostic covers an offset."""
    codes = [
        diagnostic.code
        for diagnostic in analysis.checked.diagnostics
        if _covers(place(diagnostic, analysis), offset)
    ]
    yield from filter(None, map(rule_page, dict.fromkeys(codes)))


def _covers(span: Span, offset: int) -> bool:
    return span.start <= offset <= span.end


def _about(analysis: Analysis, offset: int) -> HoverText | None:
    for declaration in analysis.main.file.declarations:
        if _covers(declaration.span, offset):
            return _in_declaration(declaration, analysis, offset)
    return None


def _in_declaration(
    declaration: ast.Declaration, analysis: Analysis, offset: int
) -> HoverText | None:
    keyword = ast.keyword_span(declaration)
    if _covers(keyword, offset) and type(declaration) in _DECLARED:
        return HoverText(class_page(_DECLARED[type(declaration)], keyword.text), keyword)
    if isinstance(declaration, ast.Grid) and (
        hover_text := _in_grid(declaration, analysis, offset)
    ):
        return hover_text
    if isinstance(declaration, ast.Schedule) and _covers(declaration.kind.span, offset):
        return HoverText(
            choice_page(ScheduleKind, None, declaration.kind.text), declaration.kind.span
        )
    if isinstance(declaration, ast.Preset | ast.Module) and _covers(declaration.base.span, offset):
        return _base(declaration.base, analysis)
    block = getattr(declaration, "block", None)
    if isinstance(block, ast.Block) and _covers(block.span, offset):
        block_class = block_class_of(declaration, analysis.scope)
        owner = str(getattr(block_class, "keyword", keyword.text))
        hover_text = _in_block(block, fields_of(block_class), owner, offset)
        if hover_text is not None:
            return hover_text
    occurrence = analysis.occurrence(offset)
    return HoverText(_symbol(occurrence.symbol, analysis), occurrence.span) if occurrence else None


def _in_grid(grid: ast.Grid, analysis: Analysis, offset: int) -> HoverText | None:
    """The ranks of the grid, at the name of a view or axis."""
    for view in grid.fields:
        if isinstance(view, ast.View):
            for name in (view.name, *(axis.name for axis in view.axes)):
                if _covers(name.span, offset):
                    return HoverText(grid_page(grid.name.text, analysis), name.span)
    return None


def _base(base: ast.Name, analysis: Analysis) -> HoverText:
    if base.text not in analysis.scope.names(ast.Preset) and (kind := known_kind(base.text)):
        return HoverText(class_page(kind, base.text), base.span)
    return HoverText(_symbol(Symbol(ast.Preset, base.text), analysis), base.span)


def _in_block(block: ast.Block, fields: Fields, owner: str, offset: int) -> HoverText | None:
    for entry in block.fields:
        if not _covers(entry.span, offset):
            continue
        field = fields.get(entry.key.text)
        if field is None:
            return None
        if _covers(entry.key.span, offset):
            return HoverText(field_page(field, owner), entry.key.span)
        value = entry.value
        if isinstance(value, ast.Block):
            tag = value.tag.text if value.tag else None
            block_class = inner_class(field, tag)
            if value.tag and block_class and _covers(value.tag.span, offset):
                return HoverText(class_page(block_class, value.tag.text), value.tag.span)
            return _in_block(value, inner_fields(field, tag), tag or field.name, offset)
        for enum in field.type.enums:
            if isinstance(value, ast.Word) and value.text in enum:
                return HoverText(choice_page(enum, field, value.text), value.span)
    return None


def _symbol(symbol: Symbol, analysis: Analysis) -> str:
    """The text for a name: a constant's value, a grid's ranks, else its declaration."""
    declaration = analysis.scope.names(symbol.sort).get(symbol.name)
    match declaration:
        case ast.Let():
            return _let(declaration, analysis)
        case ast.Grid():
            return grid_page(symbol.name, analysis)
        case ast.Preset() | ast.Module():
            kind = kind_of(declaration.base.text, analysis.scope)
            role = f" ({kind.role.value})" if kind else ""
            sort = ast.keyword(declaration)
            return f"**`{symbol.name}`** — {sort}{role}\n\n```mimo\n{declaration.span.text}\n```"
        case _:
            return f"`{symbol.name}` is not declared"


def _let(let: ast.Let, analysis: Analysis) -> str:
    """The text for a constant, with its value."""
    scopes = NameScopes(
        main=analysis.main, lost=LostDeclarations.in_files(()), report=lambda _: None
    )
    environment = Environment(scope=analysis.scope, constants=evaluate_lets(scopes, {}))
    value = environment.constants.get(let.name.text, FAILED)
    text = f"```mimo\n{let.span.text}\n```"
    shown = "" if value is FAILED else constant(value)
    return text if shown in ("", let.value.span.text) else f"{text}\n\n= `{shown}`"
