"""Names: where each name is declared, and every place that refers to it."""

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
    """A name with the sort of its declaration; each sort has its own names."""

    sort: type[NamedDeclaration]
    name: str


@frozen
class Occurrence:
    """A place that refers to a symbol; `declares` marks its declaration."""

    symbol: Symbol
    span: Span
    declares: bool = False


def kind_of(base: str, scope: NameScope) -> type[Kind] | None:
    """The kind of a word after a colon, through presets; `None` if it is unknown."""
    presets = scope.names(ast.Preset)
    seen: set[str] = set()
    while base not in seen:
        seen.add(base)
        preset = presets.get(base)
        if not isinstance(preset, ast.Preset):
            return known_kind(base)
        base = preset.base.text
    return None


def block_class_of(declaration: ast.Declaration, scope: NameScope) -> type[Node] | None:
    """The IR class whose fields a declaration's block sets; `None` without a block."""
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
    """The fields of a declaration's block, by name; empty for an unknown kind."""
    return {field.name: field for field in block_fields(cls)} if cls else {}


def inner_class(field: FieldSchema | None, tag: str | None) -> type[Node] | None:
    """The IR class of a block in a field, with or without a tag."""
    blocks = field.blocks if field else {}
    if tag is None:
        return next(iter(blocks.values())) if len(blocks) == 1 else None
    return blocks.get(tag)


def inner_fields(field: FieldSchema | None, tag: str | None) -> Fields:
    """The fields of a block in a field."""
    cls = inner_class(field, tag)
    return {inner_field.name: inner_field for inner_field in schema(cls)} if cls else {}


def occurrences(file: ast.File, scope: NameScope) -> Iterator[Occurrence]:
    """Every place in a file that refers to a constant, preset, grid or module, in order."""
    for declaration in file.declarations:
        yield from _declaration(declaration, scope)


def _declaration(declaration: ast.Declaration, scope: NameScope) -> Iterator[Occurrence]:
    if isinstance(declaration, ast.Let | ast.Grid | ast.Preset | ast.Module):
        yield _occurrence(type(declaration), declaration.name, declares=True)
    match declaration:
        case ast.Let():
            yield from _value(declaration.value, None)
        case ast.Grid():
            yield from _grid(declaration)
        case ast.Place():
            yield from (_occurrence(ast.Grid, name) for name in placed(declaration.placement))
        case ast.Preset() | ast.Module():
            base = declaration.base.text
            if base in scope.names(ast.Preset) or known_kind(base) is None:
                yield _occurrence(ast.Preset, declaration.base)
        case ast.Flow():
            yield from (_occurrence(ast.Module, name) for name in declaration.path)
        case _:
            pass
    block = getattr(declaration, "block", None)
    if isinstance(block, ast.Block):
        yield from _block(block, fields_of(block_class_of(declaration, scope)))


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


def _occurrence(
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
    for entry in block.fields:
        field = fields.get(entry.key.text)
        if isinstance(entry.value, ast.Block):
            tag = entry.value.tag.text if entry.value.tag else None
            yield from _block(entry.value, inner_fields(field, tag))
        elif isinstance(entry.value, ast.Word) and entry.key.text in REFERENCES:
            yield _occurrence(ast.Grid, entry.value)
        else:
            yield from _value(entry.value, field)


def _value(value: ast.Value, field: FieldSchema | None) -> Iterator[Occurrence]:
    """The constants in a value. A word that is a choice of the field is not a constant."""
    match value:
        case ast.Word():
            is_choice = field is not None and any(value.text in enum for enum in field.type.enums)
            if not is_choice and value.text not in (*LITERAL_WORDS, "_"):
                yield _occurrence(ast.Let, value)
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


def covering[T](items: Iterable[T], span: Callable[[T], Span], offset: int) -> T | None:
    """The first item that covers an offset or ends at it."""
    return next((item for item in items if span(item).start <= offset <= span(item).end), None)
