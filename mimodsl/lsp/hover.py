"""What is said of the thing at the cursor: its meaning, its value, its ranks, its mistakes."""

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
    fields_of,
    inner_class,
    inner_fields,
    kind_of,
    made_by,
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
class Said:
    """Words in Markdown, and what they are about."""

    text: str
    span: Span


def hover(analysis: Analysis, position: types.Position) -> types.Hover | None:
    """What is said at a position; of a mistake there what its code means, too."""
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
    """The page of every code whose diagnostic covers an offset."""
    codes = [
        one.code for one in analysis.checked.diagnostics if _covers(place(one, analysis), offset)
    ]
    yield from filter(None, map(rule_page, dict.fromkeys(codes)))


def _covers(span: Span, offset: int) -> bool:
    return span.start <= offset <= span.end


def _about(analysis: Analysis, offset: int) -> Said | None:
    for declaration in analysis.main.file.declarations:
        if _covers(declaration.span, offset):
            return _in_declaration(declaration, analysis, offset)
    return None


def _in_declaration(one: ast.Declaration, analysis: Analysis, offset: int) -> Said | None:
    keyword = ast.keyword_span(one)
    if _covers(keyword, offset) and type(one) in _DECLARED:
        return Said(class_page(_DECLARED[type(one)], keyword.text), keyword)
    if isinstance(one, ast.Grid) and (said := _in_grid(one, analysis, offset)):
        return said
    if isinstance(one, ast.Schedule) and _covers(one.kind.span, offset):
        return Said(choice_page(ScheduleKind, None, one.kind.text), one.kind.span)
    if isinstance(one, ast.Preset | ast.Module) and _covers(one.base.span, offset):
        return _base(one.base, analysis)
    block = getattr(one, "block", None)
    if isinstance(block, ast.Block) and _covers(block.span, offset):
        made = made_by(one, analysis.scope)
        owner = str(getattr(made, "keyword", keyword.text))
        said = _in_block(block, fields_of(made), owner, offset)
        if said is not None:
            return said
    found = analysis.occurrence(offset)
    return Said(_symbol(found.symbol, analysis), found.span) if found else None


def _in_grid(grid: ast.Grid, analysis: Analysis, offset: int) -> Said | None:
    """The grid's ranks, on the name of a view or of an axis."""
    for view in grid.fields:
        if isinstance(view, ast.View):
            for name in (view.name, *(axis.name for axis in view.axes)):
                if _covers(name.span, offset):
                    return Said(grid_page(grid.name.text, analysis), name.span)
    return None


def _base(base: ast.Name, analysis: Analysis) -> Said:
    if base.text not in analysis.scope.names(ast.Preset) and (kind := known_kind(base.text)):
        return Said(class_page(kind, base.text), base.span)
    return Said(_symbol(Symbol(ast.Preset, base.text), analysis), base.span)


def _in_block(block: ast.Block, fields: Fields, owner: str, offset: int) -> Said | None:
    for one in block.fields:
        if not _covers(one.span, offset):
            continue
        field = fields.get(one.key.text)
        if field is None:
            return None
        if _covers(one.key.span, offset):
            return Said(field_page(field, owner), one.key.span)
        value = one.value
        if isinstance(value, ast.Block):
            tag = value.tag.text if value.tag else None
            made = inner_class(field, tag)
            if value.tag and made and _covers(value.tag.span, offset):
                return Said(class_page(made, value.tag.text), value.tag.span)
            return _in_block(value, inner_fields(field, tag), tag or field.name, offset)
        for enum in field.type.enums:
            if isinstance(value, ast.Word) and value.text in enum:
                return Said(choice_page(enum, field, value.text), value.span)
    return None


def _symbol(symbol: Symbol, analysis: Analysis) -> str:
    """What a name stands for: a constant's value, a grid's ranks, else its declaration's text."""
    declaration = analysis.scope.names(symbol.sort).get(symbol.name)
    match declaration:
        case ast.Let():
            return _let(declaration, analysis)
        case ast.Grid():
            return grid_page(symbol.name, analysis)
        case ast.Preset() | ast.Module():
            made = kind_of(declaration.base.text, analysis.scope)
            role = f" ({made.role.value})" if made else ""
            sort = ast.keyword(declaration)
            return f"**`{symbol.name}`** — {sort}{role}\n\n```mimo\n{declaration.span.text}\n```"
        case _:
            return f"`{symbol.name}` is not declared"


def _let(let: ast.Let, analysis: Analysis) -> str:
    """A constant with what it comes to."""
    scopes = NameScopes(
        main=analysis.main, lost=LostDeclarations.in_files(()), report=lambda _: None
    )
    environment = Environment(scope=analysis.scope, constants=evaluate_lets(scopes, {}))
    value = environment.constants.get(let.name.text, FAILED)
    text = f"```mimo\n{let.span.text}\n```"
    shown = "" if value is FAILED else constant(value)
    return text if shown in ("", let.value.span.text) else f"{text}\n\n= `{shown}`"
