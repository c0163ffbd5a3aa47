"""The syntax tree: what the text says, with spans, before names and values are resolved.

Two trees are equal if they say the same; spans do not count.
"""

from typing import dataclass_transform, override

import attrs
from attrs import field

from mimodsl.source import SourceFile, Span


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def node[T](cls: type[T]) -> type[T]:
    """A frozen class of the tree.

    `Syntax` compares and shows all of them: methods that attrs writes for each of thirty classes
    cost more time, whenever the language is imported, than comparing trees ever does.
    """
    return attrs.frozen(kw_only=True, eq=False, repr=False)(cls)


@node
class Syntax:
    """The base of every node of the tree."""

    span: Span = field(eq=False, repr=False)

    @override
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, each.name) == getattr(other, each.name)
            for each in attrs.fields(type(self))
            if each.eq
        )

    @override
    def __hash__(self) -> int:
        fields = attrs.fields(type(self))
        return hash((type(self), *(getattr(self, each.name) for each in fields if each.eq)))

    @override
    def __repr__(self) -> str:
        shown = (each.name for each in attrs.fields(type(self)) if each.repr)
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({values})"


@node
class Name(Syntax):
    """A name where it is declared or used."""

    text: str

    def __str__(self) -> str:
        return self.text


# Values.


@node
class Integer(Syntax):
    value: int


@node
class Float(Syntax):
    value: float


@node
class Size(Syntax):
    """`512x512`: height by width."""

    height: int
    width: int


@node
class String(Syntax):
    value: str


@node
class Word(Syntax):
    """A bare word: `true`, `false`, `none`, a choice such as `bf16`, the name of a constant."""

    text: str


@node
class ParenthesisedValue(Syntax):
    """A value in parentheses."""

    value: "Value"


@node
class Negation(Syntax):
    """`-a`."""

    operand: "Value"


@node
class Arithmetic(Syntax):
    """Operands with the same precedence, evaluated from left to right: `a * b // c`."""

    first: "Value"
    rest: "tuple[tuple[str, Value], ...]"


@node
class List(Syntax):
    items: "tuple[Value, ...]"


@node
class Field(Syntax):
    """`key = value`."""

    key: Name
    value: "Value"


@node
class Block(Syntax):
    """`{ key = value, … }`, perhaps behind a tag: `adamw { lr = 2e-4 }`."""

    tag: Name | None = None
    fields: tuple[Field, ...]


type Value = (
    Integer
    | Float
    | Size
    | String
    | Word
    | ParenthesisedValue
    | Negation
    | Arithmetic
    | List
    | Block
)


# Declarations.


@node
class Use(Syntax):
    path: String


@node
class Let(Syntax):
    name: Name
    value: Value


@node
class Axis(Syntax):
    """`tp:2`, or `pp` for an axis that the base view shares; `_` as the size means to fill it."""

    name: Name
    size: Integer | Word | ParenthesisedValue | None


@node
class View(Syntax):
    """`dense = tp:2 * dp:4`."""

    name: Name
    axes: tuple[Axis, ...]


@node
class Ranks(Syntax):
    """`ranks = 8`."""

    value: Value


@node
class Grid(Syntax):
    name: Name
    fields: tuple[Ranks | View, ...]


@node
class Placed(Syntax):
    """One grid in a placement."""

    name: Name


@node
class Beside(Syntax):
    """`a | b`."""

    parts: "tuple[Placement, ...]"


@node
class Together(Syntax):
    """`a & b`."""

    parts: "tuple[Placement, ...]"


@node
class ParenthesisedPlacement(Syntax):
    """A placement in parentheses."""

    inner: "Placement"


type Placement = Placed | Beside | Together | ParenthesisedPlacement


@node
class Place(Syntax):
    placement: Placement


@node
class Preset(Syntax):
    name: Name
    base: Name
    block: Block | None


@node
class Module(Syntax):
    name: Name
    base: Name
    block: Block | None


@node
class Flow(Syntax):
    path: tuple[Name, ...]
    block: Block | None


@node
class Schedule(Syntax):
    kind: Name
    block: Block | None


@node
class Train(Syntax):
    block: Block


@node
class Broken(Syntax):
    """A declaration with a syntax error; its keyword and name as far as they are known."""

    keyword: str | None
    name: str | None


type Declaration = Use | Let | Grid | Place | Preset | Module | Flow | Schedule | Train


def keyword(declaration: Declaration) -> str:
    """The word that a declaration begins with: `grid`."""
    return type(declaration).__name__.lower()


def keyword_span(declaration: Declaration) -> Span:
    span = declaration.span
    return Span(span.file, span.start, span.start + len(keyword(declaration)))


@attrs.frozen(kw_only=True)
class File:
    """A file: its declarations in order, the broken ones, and its comments."""

    source: SourceFile = field(eq=False, repr=False)
    declarations: tuple[Declaration, ...]
    broken: tuple[Broken, ...] = ()
    comments: tuple[Span, ...] = field(default=(), eq=False, repr=False)

    def declarations_of[D: Syntax](self, kind: type[D]) -> tuple[D, ...]:
        """The declarations of one kind, in order."""
        return tuple(
            declaration for declaration in self.declarations if isinstance(declaration, kind)
        )
