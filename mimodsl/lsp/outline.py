"""The outline of a text: its declarations with their fields, and the parts that fold."""

from collections.abc import Iterator

from lsprotocol import types

from mimodsl.lsp.specs import Analysis
from mimodsl.source import Span
from mimodsl.syntax import ast

_KINDS = {
    ast.Use: types.SymbolKind.File,
    ast.Let: types.SymbolKind.Constant,
    ast.Grid: types.SymbolKind.Struct,
    ast.Place: types.SymbolKind.Operator,
    ast.Preset: types.SymbolKind.Interface,
    ast.Module: types.SymbolKind.Class,
    ast.Flow: types.SymbolKind.Event,
    ast.Schedule: types.SymbolKind.Object,
    ast.Train: types.SymbolKind.Object,
}


def symbols(analysis: Analysis) -> list[types.DocumentSymbol]:
    """The declarations of a text, and the fields of each."""
    return [_declaration(declaration, analysis) for declaration in analysis.main.file.declarations]


def _declaration(declaration: ast.Declaration, analysis: Analysis) -> types.DocumentSymbol:
    name, detail, name_span = _titled(declaration)
    fields = list(_grid_fields(declaration, analysis)) if isinstance(declaration, ast.Grid) else []
    block = getattr(declaration, "block", None)
    if isinstance(block, ast.Block):
        fields = list(_fields(block, analysis))
    return types.DocumentSymbol(
        name=name,
        detail=detail,
        kind=_KINDS[type(declaration)],
        range=analysis.positions.of(declaration.span),
        selection_range=analysis.positions.of(name_span),
        children=fields,
    )


def _titled(declaration: ast.Declaration) -> tuple[str, str, Span]:
    """A declaration's name, the detail beside it, and the span of the name."""
    word = ast.keyword(declaration)
    match declaration:
        case ast.Use():
            titled = declaration.path.value or '""', word, declaration.path.span
        case ast.Let():
            titled = declaration.name.text, declaration.value.span.text, declaration.name.span
        case ast.Grid():
            titled = declaration.name.text, word, declaration.name.span
        case ast.Preset() | ast.Module():
            titled = declaration.name.text, f"{word} : {declaration.base}", declaration.name.span
        case ast.Flow():
            path = declaration.path[0].span.to(declaration.path[-1].span)
            titled = " -> ".join(map(str, declaration.path)), word, path
        case ast.Place():
            titled = declaration.placement.span.text, word, declaration.placement.span
        case ast.Schedule():
            titled = declaration.kind.text, word, declaration.kind.span
        case ast.Train():
            titled = word, "", ast.keyword_span(declaration)
    return titled


def _grid_fields(grid: ast.Grid, analysis: Analysis) -> Iterator[types.DocumentSymbol]:
    for field in grid.fields:
        name_span = field.name.span if isinstance(field, ast.View) else None
        key_span = name_span or Span(
            field.span.file, field.span.start, field.span.start + len("ranks")
        )
        rest = field.span.text[key_span.end - field.span.start :].lstrip(" =")
        yield types.DocumentSymbol(
            name=key_span.text,
            detail=rest,
            kind=types.SymbolKind.Property,
            range=analysis.positions.of(field.span),
            selection_range=analysis.positions.of(key_span),
        )


def _fields(block: ast.Block, analysis: Analysis) -> Iterator[types.DocumentSymbol]:
    for field in block.fields:
        inner = field.value if isinstance(field.value, ast.Block) else None
        yield types.DocumentSymbol(
            name=field.key.text,
            detail=(str(inner.tag or "") if inner else field.value.span.text) or None,
            kind=types.SymbolKind.Field,
            range=analysis.positions.of(field.span),
            selection_range=analysis.positions.of(field.key.span),
            children=list(_fields(inner, analysis)) if inner else [],
        )


def folds(analysis: Analysis) -> list[types.FoldingRange]:
    """Declarations, their inner blocks, and comments of several lines."""
    spans = [
        span for declaration in analysis.main.file.declarations for span in _blocks(declaration)
    ]
    blocks = [_fold(span, analysis, None) for span in spans]
    comments = [
        _fold(span, analysis, types.FoldingRangeKind.Comment) for span in _comments(analysis)
    ]
    return [fold for fold in (*blocks, *comments) if fold.start_line < fold.end_line]


def _blocks(declaration: ast.Declaration) -> Iterator[Span]:
    yield declaration.span
    block = getattr(declaration, "block", None)
    if isinstance(block, ast.Block):
        yield from _inner(block)


def _inner(block: ast.Block) -> Iterator[Span]:
    for field in block.fields:
        if isinstance(field.value, ast.Block):
            yield field.span
            yield from _inner(field.value)


def _comments(analysis: Analysis) -> Iterator[Span]:
    """Comments on consecutive lines, merged into one span."""
    run: Span | None = None
    for span in analysis.main.file.comments:
        between = "" if run is None else span.file.text[run.end : span.start]
        if run is not None and between.count("\n") == 1 and not between.strip():
            run = run.to(span)
        else:
            if run is not None:
                yield run
            run = span
    if run is not None:
        yield run


def _fold(
    span: Span, analysis: Analysis, kind: types.FoldingRangeKind | None
) -> types.FoldingRange:
    place = analysis.positions.of(span)
    return types.FoldingRange(start_line=place.start.line, end_line=place.end.line, kind=kind)
