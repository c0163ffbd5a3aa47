"""The base of every IR class: frozen, keyword-only, with checked fields."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, cast, dataclass_transform, get_type_hints

import attrs

from mimodsl.ir.facts import Facts
from mimodsl.ir.types import FieldType, Refused, describe, field_type, unwritable
from mimodsl.source import Span

KNOB = "mimodsl.knob"


@attrs.frozen
class Constraint:
    """A condition on a field's value, its words (`at least 1`), and its JSON Schema."""

    words: str
    accepts: Callable[[Any], bool]
    json: Mapping[str, int]


NOT_EMPTY = Constraint("of at least one item", bool, {"minItems": 1})
AT_LEAST_1 = Constraint("at least 1", lambda value: value >= 1, {"minimum": 1})
AT_LEAST_0 = Constraint("at least 0", lambda value: value >= 0, {"minimum": 0})
ABOVE_0 = Constraint("above 0", lambda value: value > 0, {"exclusiveMinimum": 0})
SHARE = Constraint(
    "above 0 and at most 1", lambda value: 0 < value <= 1, {"exclusiveMinimum": 0, "maximum": 1}
)
FRACTION = Constraint(
    "at least 0 and below 1", lambda value: 0 <= value < 1, {"minimum": 0, "exclusiveMaximum": 1}
)


@attrs.frozen(kw_only=True)
class Knob:
    """The metadata of a field that users can set."""

    doc: str
    unit: str
    constraint: Constraint | None
    facts: Facts | None


def knob(  # noqa: PLR0913 - the row of a field, by keyword
    *,
    doc: str,
    default: Any = attrs.NOTHING,
    factory: Callable[[], Any] | None = None,
    unit: str = "",
    check: Constraint | None = None,
    converter: Callable[[Any], Any] | None = None,
    facts: Facts | None = None,
) -> Any:
    """A field that users may set: its meaning, unit, single-value constraint and facts.

    The class annotation fixes the type; `node` adds the check of both when the class is made.
    Every field of our classes states its facts once; a subclass that changes only the default
    inherits them. A kind of another package may omit them; then a change of the field counts as a
    change of the shapes of weights.
    """
    start: Any = attrs.Factory(factory) if factory else default
    return attrs.field(  # pyright: ignore[reportUnknownVariableType]
        default=start,
        converter=converter,
        metadata={KNOB: Knob(doc=doc, unit=unit, constraint=check, facts=facts)},
    )


@attrs.frozen(kw_only=True)
class Origin:
    """The place of a node in a text: its span, and the spans of its name and of each field's
    value.
    """

    span: Span
    name: Span | None = None
    fields: Mapping[str, Span] = attrs.field(factory=dict[str, Span])


class Keyword(StrEnum):
    """The base of every closed set of words in the language."""

    def __repr__(self) -> str:
        """The plain word, which Python users can also write."""
        return repr(self.value)

    @property
    def megatron(self) -> str | None:
        """Megatron's word for the choice: the same word, unless a subclass overrides it."""
        return str(self.value)


def _check_knobs(cls: type, fields: list["attrs.Attribute[Any]"]) -> list["attrs.Attribute[Any]"]:
    if any(isinstance(field.type, str) and KNOB in field.metadata for field in fields):
        # A kind of another package may be in a file with `from __future__ import annotations`.
        types = get_type_hints(cls)
        fields = [
            field.evolve(type=types.get(field.name, field.type))  # pyright: ignore[reportUnknownMemberType]
            for field in fields
        ]
    own = cls.__annotations__  # an inherited field has its check already
    return [
        _checked(_with_facts(cls, field))
        if KNOB in field.metadata and (field.name in own or not field.validator)
        else field
        for field in fields
    ]


def _with_facts(cls: type, field: "attrs.Attribute[Any]") -> "attrs.Attribute[Any]":
    """The field; if it states no facts, with the facts of the base class's field."""
    stated = cast(Knob, field.metadata[KNOB])
    if stated.facts is not None:
        return field
    for base in cls.__mro__[1:]:
        for other in cast("tuple[attrs.Attribute[Any], ...]", getattr(base, "__attrs_attrs__", ())):
            if other.name == field.name and KNOB in other.metadata:
                facts = cast(Knob, other.metadata[KNOB]).facts
                return field.evolve(metadata={KNOB: attrs.evolve(stated, facts=facts)})  # pyright: ignore[reportUnknownMemberType]
    return field


def _checked(field: "attrs.Attribute[Any]") -> "attrs.Attribute[Any]":
    expected = field_type(field.type)
    constraint = cast(Knob, field.metadata[KNOB]).constraint

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        problem = refusal(value, expected, constraint)
        if problem:
            raise Refused(type(instance), attribute.name, problem)

    return field.evolve(
        # Subclasses share the `Converter`: attrs would inspect a plain function for each of them.
        converter=field.converter or attrs.Converter(_converter(expected)),  # pyright: ignore[reportUnknownMemberType]
        validator=validate,
    )


def refusal(value: object, expected: FieldType, constraint: Constraint | None) -> str | None:
    """Why a field does not accept a value; `None` if it accepts it."""
    if value is None and expected.optional:
        return None
    if not expected.accepts(value):
        return f"expected {describe(expected)}, found {value!r}"
    if problem := unwritable(value):
        return problem
    if constraint is not None and not constraint.accepts(value):
        return f"must be {constraint.words}, found {value}"
    return None


def items(value: Any) -> Any:
    """A list of nodes as a tuple; other values stay as they are, and `holds` refuses them."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return tuple(cast("Iterable[Any]", value))


def holds(*classes: type, many: bool = True) -> Callable[[Any, Any, Any], None]:
    """A validator for a field that is not a knob: its value is such a node, or a tuple of them."""
    expected = FieldType(bases=classes, many=many)

    def validate(instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not expected.accepts(value):
            problem = f"expected {describe(expected)}, found {value!r:.80}"
            raise Refused(type(instance), attribute.name, problem)

    return validate


def _converter(expected: FieldType) -> Callable[[Any], Any]:
    """Converts strings to enum members and lists to tuples; other values stay as they are."""

    def convert(value: Any) -> Any:
        if isinstance(value, str):
            for enum in expected.enums:
                if value in enum:
                    return enum(value)
        if isinstance(value, list):
            return tuple(cast(list[object], value))
        return value

    return convert


def _default(field: "attrs.Attribute[Any]") -> object:
    """The default of a field; `NOTHING` if it is required or depends on other fields."""
    start: Any = field.default
    if not hasattr(start, "factory"):
        return start
    return attrs.NOTHING if start.takes_self else start.factory()


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(knob, attrs.field)
)
def node[T](cls: type[T]) -> type[T]:
    """Make an IR class: frozen and keyword-only, with every knob converted and checked.

    The class raises `ValueError` for a value of the wrong type or against its constraint.
    `Node` compares and shows all nodes: methods that attrs compiles for each class would make
    the start of every command slower.
    """
    return attrs.frozen(kw_only=True, eq=False, repr=False, field_transformer=_check_knobs)(cls)


@node
class Node:
    """An IR object. Its origin does not count for equality; objects made in Python have none."""

    megatron_config: ClassVar[str] = "TransformerConfig"
    """The class of Megatron-Core whose fields the facts of this class name."""

    origin: Origin | None = attrs.field(default=None, eq=False, repr=False)

    def __eq__(self, other: object) -> bool:
        """Whether both are of the same class and have equal fields."""
        if type(self) is not type(other):
            return NotImplemented
        return self._compared() == cast(Node, other)._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def _compared(self) -> tuple[object, ...]:
        return tuple(getattr(self, field.name) for field in attrs.fields(type(self)) if field.eq)

    def __repr__(self) -> str:
        """The call that makes the node, without default values."""
        arguments = (
            f"{field.name}={value!r}"
            for field in attrs.fields(type(self))
            if field.repr and (value := getattr(self, field.name)) != _default(field)
        )
        return f"{type(self).__name__}({', '.join(arguments)})"

    def span(self, field: str | None = None) -> Span | None:
        """The span of a field's value or, without a field, of the whole node."""
        if self.origin is None:
            return None
        if field is None:
            return self.origin.span
        return self.origin.fields.get(field, self.origin.name or self.origin.span)
