"""The syntax tree: what the text says, with spans, before names and values are resolved.

Two trees are equal if they say the same; spans do not count.
"""

from attrs import field, frozen

from mimodsl.source import SourceFile, Span


@frozen(kw_only=True)
class Syntax:
    """The base of every node of the tree."""

    span: Span = field(eq=False, repr=False)


@frozen(kw_only=True)
class Name(Syntax):
    """A name where it is declared or used."""

    text: str

    def __str__(self) -> str:
        return self.text


# Values.


@frozen(kw_only=True)
class Integer(Syntax):
    value: int


@frozen(kw_only=True)
class Float(Syntax):
    value: float


@frozen(kw_only=True)
class Size(Syntax):
    """`512x512`: height by width."""

    height: int
    width: int


@frozen(kw_only=True)
class String(Syntax):
    value: str


@frozen(kw_only=True)
class Word(Syntax):
    """A bare word: `true`, `false`, `none`, a choice such as `bf16`, the name of a constant."""

    text: str


@frozen(kw_only=True)
class ParenthesisedValue(Syntax):
    """A value in parentheses."""

    value: "Value"


@frozen(kw_only=True)
class Negation(Syntax):
    """`-a`."""

    operand: "Value"


@frozen(kw_only=True)
class Arithmetic(Syntax):
    """Operands with the same precedence, evaluated from left to right: `a * b // c`."""

    first: "Value"
    rest: "tuple[tuple[str, Value], ...]"


@frozen(kw_only=True)
class List(Syntax):
    items: "tuple[Value, ...]"


@frozen(kw_only=True)
class Field(Syntax):
    """`key = value`."""

    key: Name
    value: "Value"


@frozen(kw_only=True)
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


@frozen(kw_only=True)
class Use(Syntax):
    path: String


@frozen(kw_only=True)
class Let(Syntax):
    name: Name
    value: Value


@frozen(kw_only=True)
class Axis(Syntax):
    """`tp:2`, or `pp` for an axis that the base view shares; `_` as the size means to fill it."""

    name: Name
    size: Integer | Word | ParenthesisedValue | None


@frozen(kw_only=True)
class View(Syntax):
    """`dense = tp:2 * dp:4`."""

    name: Name
    axes: tuple[Axis, ...]


@frozen(kw_only=True)
class Ranks(Syntax):
    """`ranks = 8`."""

    value: Value


@frozen(kw_only=True)
class Grid(Syntax):
    name: Name
    fields: tuple[Ranks | View, ...]


@frozen(kw_only=True)
class Placed(Syntax):
    """One grid in a placement."""

    name: Name


@frozen(kw_only=True)
class Beside(Syntax):
    """`a | b`."""

    parts: "tuple[Placement, ...]"


@frozen(kw_only=True)
class Together(Syntax):
    """`a & b`."""

    parts: "tuple[Placement, ...]"


@frozen(kw_only=True)
class ParenthesisedPlacement(Syntax):
    """A placement in parentheses."""

    inner: "Placement"


type Placement = Placed | Beside | Together | ParenthesisedPlacement


@frozen(kw_only=True)
class Place(Syntax):
    placement: Placement


@frozen(kw_only=True)
class Preset(Syntax):
    name: Name
    base: Name
    block: Block | None


@frozen(kw_only=True)
class Module(Syntax):
    name: Name
    base: Name
    block: Block | None


@frozen(kw_only=True)
class Flow(Syntax):
    path: tuple[Name, ...]
    block: Block | None


@frozen(kw_only=True)
class Schedule(Syntax):
    kind: Name
    block: Block | None


@frozen(kw_only=True)
class Train(Syntax):
    block: Block


@frozen(kw_only=True)
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


@frozen(kw_only=True)
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
