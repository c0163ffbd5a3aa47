"""Builds the syntax tree from lark's tree, with one function per grammar rule."""

import json
from collections.abc import Callable
from typing import Final, cast

from attrs import frozen
from lark import Token, Tree

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.limits import MAX_INTEGER
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast

type Branch = Tree[Token]
type Child = Branch | Token


class Unreadable(Exception):
    """A literal with the right form that has no value, such as an integer that is too large."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def _trees(branch: Branch) -> list[Branch]:
    return [child for child in branch.children if isinstance(child, Tree)]


def _tokens(branch: Branch, kind: str) -> list[Token]:
    return [child for child in branch.children if isinstance(child, Token) and child.type == kind]


@frozen(eq=False)
class Builder:
    """Builds the nodes of one file. Raises `Unreadable` for a literal without a value."""

    source: SourceFile

    def declaration(self, branch: Branch) -> ast.Declaration:
        return _DECLARATIONS[branch.data](self, branch)

    def value(self, branch: Branch) -> ast.Value:
        return _VALUES[branch.data](self, branch)

    def span(self, child: Child) -> Span:
        place = child if isinstance(child, Token) else child.meta
        return Span(self.source, cast(int, place.start_pos), cast(int, place.end_pos))

    def name(self, token: Token) -> ast.Name:
        return ast.Name(text=str(token), span=self.span(token))

    def names(self, branch: Branch) -> tuple[ast.Name, ...]:
        return tuple(self.name(token) for token in _tokens(branch, "NAME"))

    def block(self, branch: Branch) -> ast.Block | None:
        blocks = [tree for tree in _trees(branch) if tree.data == "block"]
        return _block(self, blocks[0]) if blocks else None


# Values.


def _integer(builder: Builder, branch: Branch) -> ast.Integer:
    span = builder.span(branch)
    value = _digits(span, span.text)
    return ast.Integer(value=value, span=span)


def _digits(span: Span, text: str) -> int:
    digits = text.replace("_", "").lstrip("0") or "0"
    if len(digits) > len(str(MAX_INTEGER)) or int(digits) > MAX_INTEGER:
        raise Unreadable(
            codes.BAD_NUMBER.at(
                span, "the integer is too large", notes=(f"the largest is {MAX_INTEGER}",)
            )
        )
    return int(digits)


def _float(builder: Builder, branch: Branch) -> ast.Float:
    span = builder.span(branch)
    value = float(span.text)
    if value == float("inf"):
        raise Unreadable(codes.BAD_NUMBER.at(span, "the number is too large for a float"))
    return ast.Float(value=value, span=span)


def _size(builder: Builder, branch: Branch) -> ast.Size:
    span = builder.span(branch)
    height, width = (_digits(span, side) for side in span.text.split("x"))
    if height == 0 or width == 0:
        raise Unreadable(codes.BAD_NUMBER.at(span, "a side of a size must be at least 1"))
    return ast.Size(height=height, width=width, span=span)


def _string(builder: Builder, branch: Branch) -> ast.String:
    span = builder.span(branch)
    try:
        value = cast(str, json.loads(span.text))
        value.encode()
    except ValueError:
        raise Unreadable(
            codes.BAD_STRING.at(
                span,
                "the string has an unknown escape",
                notes=(
                    'the escapes are the same as in JSON: `\\"`, `\\\\`, `\\n`, `\\t`, `\\u00e9`',
                ),
            )
        ) from None
    return ast.String(value=value, span=span)


def _word(builder: Builder, branch: Branch) -> ast.Word:
    span = builder.span(branch)
    return ast.Word(text=span.text, span=span)


def _group(builder: Builder, branch: Branch) -> ast.ParenthesisedValue:
    return ast.ParenthesisedValue(value=builder.value(_trees(branch)[0]), span=builder.span(branch))


def _negation(builder: Builder, branch: Branch) -> ast.Negation:
    return ast.Negation(operand=builder.value(_trees(branch)[0]), span=builder.span(branch))


def _arithmetic(builder: Builder, branch: Branch) -> ast.Arithmetic:
    first, *operands = (builder.value(tree) for tree in _trees(branch))
    operators = (str(child) for child in branch.children if isinstance(child, Token))
    rest = tuple(zip(operators, operands, strict=True))
    return ast.Arithmetic(first=first, rest=rest, span=builder.span(branch))


def _list(builder: Builder, branch: Branch) -> ast.List:
    items = tuple(builder.value(tree) for tree in _trees(branch))
    return ast.List(items=items, span=builder.span(branch))


def _block(builder: Builder, branch: Branch, tag: ast.Name | None = None) -> ast.Block:
    fields = tuple(
        ast.Field(
            key=builder.names(field)[0],
            value=builder.value(_trees(field)[0]),
            span=builder.span(field),
        )
        for field in _trees(branch)
    )
    span = builder.span(branch)
    return ast.Block(tag=tag, fields=fields, span=tag.span.to(span) if tag else span)


def _tagged(builder: Builder, branch: Branch) -> ast.Block:
    return _block(builder, _trees(branch)[0], builder.names(branch)[0])


_VALUES: Final[dict[str, Callable[[Builder, Branch], ast.Value]]] = {
    "integer": _integer,
    "float": _float,
    "size": _size,
    "string": _string,
    "word": _word,
    "group": _group,
    "negation": _negation,
    "sum": _arithmetic,
    "product": _arithmetic,
    "list": _list,
    "block": _block,
    "tagged": _tagged,
}


# Declarations.


def _use(builder: Builder, branch: Branch) -> ast.Use:
    path = _string(builder, _trees(branch)[0])
    return ast.Use(path=path, span=builder.span(branch))


def _let(builder: Builder, branch: Branch) -> ast.Let:
    return ast.Let(
        name=builder.names(branch)[0],
        value=builder.value(_trees(branch)[0]),
        span=builder.span(branch),
    )


def _grid(builder: Builder, branch: Branch) -> ast.Grid:
    fields = tuple(_grid_field(builder, tree) for tree in _trees(branch))
    return ast.Grid(name=builder.names(branch)[0], fields=fields, span=builder.span(branch))


def _grid_field(builder: Builder, branch: Branch) -> ast.Ranks | ast.View:
    span = builder.span(branch)
    trees = _trees(branch)
    if branch.data == "ranks":
        return ast.Ranks(value=builder.value(trees[0]), span=span)
    axes = tuple(_axis(builder, tree) for tree in trees)
    return ast.View(name=builder.names(branch)[0], axes=axes, span=span)


def _axis(builder: Builder, branch: Branch) -> ast.Axis:
    sizes = [builder.value(tree) for tree in _trees(branch)]
    size = cast(
        "ast.Integer | ast.Word | ast.ParenthesisedValue | None", sizes[0] if sizes else None
    )
    return ast.Axis(name=builder.names(branch)[0], size=size, span=builder.span(branch))


def _place(builder: Builder, branch: Branch) -> ast.Place:
    placement = _placement(builder, _trees(branch)[0])
    return ast.Place(placement=placement, span=builder.span(branch))


def _placement(builder: Builder, branch: Branch) -> ast.Placement:
    span = builder.span(branch)
    if branch.data == "placed":
        return ast.Placed(name=builder.names(branch)[0], span=span)
    parts = tuple(_placement(builder, tree) for tree in _trees(branch))
    if branch.data == "parenthesised":
        return ast.ParenthesisedPlacement(inner=parts[0], span=span)
    if branch.data == "beside":
        return ast.Beside(parts=parts, span=span)
    return ast.Together(parts=parts, span=span)


def _preset(builder: Builder, branch: Branch) -> ast.Preset:
    name, base = builder.names(branch)
    return ast.Preset(name=name, base=base, block=builder.block(branch), span=builder.span(branch))


def _module(builder: Builder, branch: Branch) -> ast.Module:
    name, base = builder.names(branch)
    return ast.Module(name=name, base=base, block=builder.block(branch), span=builder.span(branch))


def _flow(builder: Builder, branch: Branch) -> ast.Flow:
    return ast.Flow(
        path=builder.names(branch), block=builder.block(branch), span=builder.span(branch)
    )


def _schedule(builder: Builder, branch: Branch) -> ast.Schedule:
    kind = builder.name(_tokens(branch, "KIND")[0])
    return ast.Schedule(kind=kind, block=builder.block(branch), span=builder.span(branch))


def _train(builder: Builder, branch: Branch) -> ast.Train:
    return ast.Train(block=_block(builder, _trees(branch)[0]), span=builder.span(branch))


_DECLARATIONS: Final[dict[str, Callable[[Builder, Branch], ast.Declaration]]] = {
    "use": _use,
    "let": _let,
    "grid": _grid,
    "place": _place,
    "preset": _preset,
    "module": _module,
    "flow": _flow,
    "schedule": _schedule,
    "train": _train,
}
