"""The schema of an IR class, read from its fields: one source for errors, docs and completion."""

from functools import cache
from typing import Any, cast

import attrs

from mimodsl.ir.facts import Changes, Facts
from mimodsl.ir.node import KNOB, Constraint, Knob, Node, refusal
from mimodsl.ir.types import FieldType, describe, field_type

type NodeClass = type[Node]


@attrs.frozen(kw_only=True)
class FieldSchema:
    """What a field accepts, and its documentation."""

    name: str
    type: FieldType
    required: bool
    default: object
    doc: str
    unit: str
    constraint: Constraint | None
    facts: Facts | None
    """`None` only in kinds of other packages."""

    @property
    def changes(self) -> Changes:
        """What another value changes; without facts, the shapes of weights."""
        return self.facts.changes if self.facts else Changes.SHAPES

    @property
    def words(self) -> str:
        """The type and constraint in words for users: `an integer, at least 1`."""
        words = describe(self.type)
        return f"{words}, {self.constraint.words}" if self.constraint else words

    @property
    def blocks(self) -> dict[str, NodeClass]:
        """The blocks that the field accepts, by tag."""
        nodes = (base for base in self.type.bases if issubclass(base, Node))
        return {str(getattr(cls, "tag", cls.__name__.lower())): cls for cls in nodes}

    def refusal(self, value: object) -> str | None:
        """Why the field does not accept a value; `None` if it accepts it."""
        return refusal(value, self.type, self.constraint)


@cache
def schema(cls: type) -> tuple[FieldSchema, ...]:
    """The fields of an IR class that users can set, in order of declaration."""
    fields = cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(cls))
    return tuple(_field_schema(field) for field in fields if KNOB in field.metadata)


def _field_schema(field: "attrs.Attribute[Any]") -> FieldSchema:
    knob = cast(Knob, field.metadata[KNOB])
    default: Any = field.default
    required = default is attrs.NOTHING
    if isinstance(default, attrs.Factory):  # pyright: ignore[reportArgumentType]
        default = default.factory()
    return FieldSchema(
        name=field.name,
        type=field_type(field.type),
        required=required,
        default=None if required else default,
        doc=knob.doc,
        unit=knob.unit,
        constraint=knob.constraint,
        facts=knob.facts,
    )
