"""Every class of the language, with the rows of its fields."""

import sys

from mimodsl.ir.node import Node
from mimodsl.ir.schema import FieldSchema, schema


def classes() -> list[type[Node]]:
    """The IR classes of mimodsl, those of no other package."""
    subclasses = [Node]
    for cls in subclasses:
        subclasses += cls.__subclasses__()
    # Attrs makes each class twice; the module holds the one with slots.
    return [
        cls
        for cls in dict.fromkeys(subclasses)
        if cls.__module__.startswith("mimodsl.ir.")
        and getattr(sys.modules[cls.__module__], cls.__name__, None) is cls
    ]


def rows() -> list[tuple[type[Node], FieldSchema]]:
    """Every field of every class."""
    return [(cls, field) for cls in classes() for field in schema(cls)]


def label(value: object) -> str | None:
    """How a test of one field is called."""
    return getattr(value, "__name__", None) or getattr(value, "name", None)
