"""Objects as plain values, ready for JSON: one rule for each type, whatever is shown.

A `document` function lists what it tells, and `plain` or `fields` turns the values into JSON's.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from functools import singledispatch
from math import isfinite
from pathlib import PurePath
from typing import Any, Final

import attrs

from mimodsl.planner.ranks import Factor, Ranks

LISTED: Final = 1024
"""Collections of more items than this, such as the ranks of a wide world, are null in JSON."""


def listed[T](items: Collection[T]) -> list[T] | None:
    """The items one by one; `None` where there are more than `LISTED`."""
    return list(items) if len(items) <= LISTED else None


def fields(thing: object, *names: str) -> dict[str, Any]:
    """Some attributes and properties of an object as plain values, by their names."""
    return {name: plain(getattr(thing, name)) for name in names}


@singledispatch
def plain(value: object) -> Any:
    """A value as JSON has it: an object of an attrs class with all its fields, others as below.

    What is none of these, such as text and integers, stays as it is.
    """
    cls: Any = type(value)
    if not attrs.has(cls):
        return value
    return fields(value, *(field.name for field in attrs.fields(cls)))


@plain.register
def _(value: Enum) -> Any:
    return value.value


@plain.register
def _(value: float) -> float | None:
    """JSON has no number for infinities and NaN."""
    return value if isfinite(value) else None


@plain.register
def _(value: PurePath) -> str:
    return str(value)


@plain.register
def _(value: range) -> dict[str, int]:
    return {"first": value.start, "count": len(value)}


@plain.register(list)
@plain.register(tuple)
def _(value: tuple[Any, ...] | list[Any]) -> list[Any]:
    return [plain(item) for item in value]


@plain.register(Mapping)
def _(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(plain(key)): plain(item) for key, item in value.items()}


@plain.register
def _(value: Factor) -> list[int]:
    return [value.size, value.stride]


@plain.register
def _(value: Ranks) -> dict[str, Any]:
    """By strides, which stay small however many ranks there are."""
    return {"start": value.start, "inner": plain(value.factors)}
