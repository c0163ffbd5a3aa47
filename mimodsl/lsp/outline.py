"""The outline of a text: its declarations with what is in them, and what can be folded."""

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
    return [_declaration(one, analysis) for one in analysis.main.file.declarations]


def _declaration(one: ast.Declaration, analysis: Analysis) -> types.DocumentSymbol:
    name, detail, at = _titled(one)
    fields = list(_grid_fields(one, analysis)) if isinstance(one, ast.Grid) else []
    block = getattr(one, "block", None)
    if isinstance(block, ast.Block):
        fields = list(_fields(block, analysis))
    return types.DocumentSymbol(
        name=name,
        detail=detail,
        kind=_KINDS[type(one)],
        range=analysis.positions.of(one.span),
        selection_range=analysis.positions.of(at),
        children=fields,
    )


def _titled(one: ast.Declaration) -> tuple[str, str, Span]:
    """A declaration's name, what is said beside it, and where the name stands."""
    word = ast.keyword(one)
    match one:
        case ast.Use():
            titled = one.path.value or '""', word, one.path.span
        case ast.Let():
            titled = one.name.text, one.value.span.text, one.name.span
        case ast.Grid():
            titled = one.name.text, word, one.name.span
        case ast.Preset() | ast.Module():
            titled = one.name.text, f"{word} : {one.base}", one.name.span
        case ast.Flow():
            path = one.path[0].span.to(one.path[-1].span)
            titled = " -> ".join(map(str, one.path)), word, path
        case ast.Place():
            titled = one.placement.span.text, word, one.placement.span
        case ast.Schedule():
            titled = one.kind.text, word, one.kind.span
        case ast.Train():
            titled = word, "", ast.keyword_span(one)
    return titled


def _grid_fields(grid: ast.Grid, analysis: Analysis) -> Iterator[types.DocumentSymbol]:
    for field in grid.fields:
        key = field.name.span if isinstance(field, ast.View) else None
        at = key or Span(field.span.file, field.span.start, field.span.start + len("ranks"))
        rest = field.span.text[at.end - field.span.start :].lstrip(" =")
        yield types.DocumentSymbol(
            name=at.text,
            detail=rest,
            kind=types.SymbolKind.Property,
            range=analysis.positions.of(field.span),
            selection_range=analysis.positions.of(at),
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
    """Declarations, blocks in them, and comments of several lines."""
    spans = [span for one in analysis.main.file.declarations for span in _blocks(one)]
    found = [_fold(span, analysis, None) for span in spans]
    comments = [
        _fold(span, analysis, types.FoldingRangeKind.Comment) for span in _comments(analysis)
    ]
    return [one for one in (*found, *comments) if one.start_line < one.end_line]


def _blocks(one: ast.Declaration) -> Iterator[Span]:
    yield one.span
    block = getattr(one, "block", None)
    if isinstance(block, ast.Block):
        yield from _inner(block)


def _inner(block: ast.Block) -> Iterator[Span]:
    for field in block.fields:
        if isinstance(field.value, ast.Block):
            yield field.span
            yield from _inner(field.value)


def _comments(analysis: Analysis) -> Iterator[Span]:
    """Comments with nothing but line breaks between them, as one."""
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
