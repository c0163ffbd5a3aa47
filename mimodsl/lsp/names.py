"""Names: where each is declared, and every place that means it."""

from collections.abc import Callable, Iterable, Iterator

from attrs import frozen

from mimodsl.ir.flow import Flow
from mimodsl.ir.kinds import Kind
from mimodsl.ir.node import Node
from mimodsl.ir.registry import known_kind
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.ir.train import Train
from mimodsl.lower.evaluate import LITERAL_WORDS
from mimodsl.lower.fields import REFERENCES, block_fields
from mimodsl.lower.names import NamedDeclaration, NameScope
from mimodsl.source import Span
from mimodsl.syntax import ast

type Fields = dict[str, FieldSchema]


@frozen
class Symbol:
    """What a name stands for. Every sort of declaration has names of its own."""

    sort: type[NamedDeclaration]
    name: str


@frozen
class Occurrence:
    """A place that means a symbol, and whether it is the one that declares it."""

    symbol: Symbol
    span: Span
    declares: bool = False


def kind_of(base: str, scope: NameScope) -> type[Kind] | None:
    """The kind that a word behind a colon comes to, through presets; `None` without one."""
    presets = scope.names(ast.Preset)
    seen: set[str] = set()
    while base not in seen:
        seen.add(base)
        preset = presets.get(base)
        if not isinstance(preset, ast.Preset):
            return known_kind(base)
        base = preset.base.text
    return None


def made_by(declaration: ast.Declaration, scope: NameScope) -> type[Node] | None:
    """The IR class whose fields a declaration's block sets; `None` where it has no block."""
    match declaration:
        case ast.Preset() | ast.Module():
            return kind_of(declaration.base.text, scope)
        case ast.Flow():
            return Flow
        case ast.Schedule():
            return Schedule
        case ast.Train():
            return Train
        case _:
            return None


def fields_of(cls: type[Node] | None) -> Fields:
    """The fields of a declaration's block, by name; none where its kind is not known."""
    return {field.name: field for field in block_fields(cls)} if cls else {}


def inner_class(field: FieldSchema | None, tag: str | None) -> type[Node] | None:
    """The IR class of a block that stands in a field, with its tag or without."""
    blocks = field.blocks if field else {}
    if tag is None:
        return next(iter(blocks.values())) if len(blocks) == 1 else None
    return blocks.get(tag)


def inner_fields(field: FieldSchema | None, tag: str | None) -> Fields:
    """The fields of a block that stands in a field."""
    cls = inner_class(field, tag)
    return {one.name: one for one in schema(cls)} if cls else {}


def occurrences(file: ast.File, scope: NameScope) -> Iterator[Occurrence]:
    """Every place in a file that means a constant, preset, grid or module, in order."""
    for declaration in file.declarations:
        yield from _declaration(declaration, scope)


def _declaration(one: ast.Declaration, scope: NameScope) -> Iterator[Occurrence]:
    if isinstance(one, ast.Let | ast.Grid | ast.Preset | ast.Module):
        yield _of(type(one), one.name, declares=True)
    match one:
        case ast.Let():
            yield from _value(one.value, None)
        case ast.Grid():
            yield from _grid(one)
        case ast.Place():
            yield from (_of(ast.Grid, name) for name in placed(one.placement))
        case ast.Preset() | ast.Module():
            base = one.base.text
            if base in scope.names(ast.Preset) or known_kind(base) is None:
                yield _of(ast.Preset, one.base)
        case ast.Flow():
            yield from (_of(ast.Module, name) for name in one.path)
        case _:
            pass
    block = getattr(one, "block", None)
    if isinstance(block, ast.Block):
        yield from _block(block, fields_of(made_by(one, scope)))


def placed(placement: ast.Placement) -> Iterator[ast.Name]:
    """The grids that a placement names."""
    match placement:
        case ast.Placed():
            yield placement.name
        case ast.ParenthesisedPlacement():
            yield from placed(placement.inner)
        case ast.Beside() | ast.Together():
            for part in placement.parts:
                yield from placed(part)


def _of(
    sort: type[NamedDeclaration], name: ast.Name | ast.Word, *, declares: bool = False
) -> Occurrence:
    return Occurrence(Symbol(sort, name.text), name.span, declares)


def _grid(grid: ast.Grid) -> Iterator[Occurrence]:
    for field in grid.fields:
        if isinstance(field, ast.Ranks):
            yield from _value(field.value, None)
        else:
            for axis in field.axes:
                if axis.size is not None:
                    yield from _value(axis.size, None)


def _block(block: ast.Block, fields: Fields) -> Iterator[Occurrence]:
    for one in block.fields:
        field = fields.get(one.key.text)
        if isinstance(one.value, ast.Block):
            tag = one.value.tag.text if one.value.tag else None
            yield from _block(one.value, inner_fields(field, tag))
        elif isinstance(one.value, ast.Word) and one.key.text in REFERENCES:
            yield _of(ast.Grid, one.value)
        else:
            yield from _value(one.value, field)


def _value(value: ast.Value, field: FieldSchema | None) -> Iterator[Occurrence]:
    """The constants in a value. Where a field takes one of some words, such a word is no name."""
    match value:
        case ast.Word():
            chosen = field is not None and any(value.text in enum for enum in field.type.enums)
            if not chosen and value.text not in (*LITERAL_WORDS, "_"):
                yield _of(ast.Let, value)
        case ast.ParenthesisedValue():
            yield from _value(value.value, None)
        case ast.Negation():
            yield from _value(value.operand, None)
        case ast.Arithmetic():
            for operand in (value.first, *(operand for _, operand in value.rest)):
                yield from _value(operand, None)
        case ast.List():
            for item in value.items:
                yield from _value(item, field)
        case _:
            pass


def at[T](found: Iterable[T], span: Callable[[T], Span], offset: int) -> T | None:
    """The first thing that covers an offset, its end included."""
    return next((one for one in found if span(one).start <= offset <= span(one).end), None)
