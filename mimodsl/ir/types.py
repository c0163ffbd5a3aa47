"""The types of fields in the language, read from class annotations."""

import math
import types
from enum import StrEnum
from typing import Any, TypeAliasType, Union, cast, get_args, get_origin

from attrs import Attribute, field, frozen

from mimodsl.limits import MAX_INTEGER

type Items = tuple[object, ...]


class Refused(ValueError):
    """A value that a field does not accept."""

    def __init__(self, cls: type, field: str, problem: str) -> None:
        super().__init__(f"{cls.__name__}.{field}: {problem}")
        self.field, self.problem = field, problem


def _is_side(instance: object, attribute: "Attribute[int]", value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(type(instance), attribute.name, f"expected an integer, found {value!r}")
    if not 1 <= value <= MAX_INTEGER:
        raise Refused(type(instance), attribute.name, f"must be at least 1, found {value}")


@frozen(kw_only=True)
class Size:
    """Height by width, in pixels: `512x512`."""

    height: int = field(validator=_is_side)
    width: int = field(validator=_is_side)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@frozen(kw_only=True)
class FieldType:
    """The type of a field: one of `bases`, `None` if `optional`, a tuple of them if `many`."""

    bases: tuple[type, ...]
    optional: bool = False
    many: bool = False

    @property
    def enums(self) -> tuple[type[StrEnum], ...]:
        return tuple(base for base in self.bases if issubclass(base, StrEnum))

    def accepts(self, value: object) -> bool:
        if self.many:
            return isinstance(value, tuple) and all(map(self._accepts_one, cast(Items, value)))
        return self._accepts_one(value)

    def _accepts_one(self, value: object) -> bool:
        if isinstance(value, bool):
            return bool in self.bases
        if isinstance(value, int) and float in self.bases:
            return True
        return isinstance(value, self.bases)


def unwritable(value: object) -> str | None:
    """Why a spec's text cannot contain a value of any type; `None` if it can."""
    if isinstance(value, tuple):
        return next(filter(None, map(unwritable, cast(Items, value))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be finite, found {value}"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "must fit into 64 bits"
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return f"must contain only Unicode characters, found {value!a}"
    return None


def field_type(annotation: Any) -> FieldType:
    """Read an annotation such as `int`, `float | None`, `Moe | None` or `tuple[str, ...]`."""
    if isinstance(annotation, TypeAliasType):
        return field_type(annotation.__value__)
    if get_origin(annotation) in (types.UnionType, Union):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        inner = [field_type(member) for member in members]
        bases = tuple(base for member_type in inner for base in member_type.bases)
        optional = types.NoneType in get_args(annotation)
        return FieldType(
            bases=bases, optional=optional, many=any(member_type.many for member_type in inner)
        )
    if get_origin(annotation) is tuple:
        return FieldType(bases=field_type(get_args(annotation)[0]).bases, many=True)
    return FieldType(bases=(annotation,))


_WORDS = {
    int: "an integer",
    float: "a number",
    bool: "`true` or `false`",
    str: "a string",
    Size: "a size such as `512x512`",
}


def describe(expected: FieldType) -> str:
    """The type in words for users: `an integer or none`."""
    words = [_describe_base(base) for base in expected.bases]
    if expected.many:
        words = [f"a list, each item {' or '.join(words)}"]
    if expected.optional:
        words.append("`none`")
    return " or ".join(words)


def _describe_base(base: type) -> str:
    if base in _WORDS:
        return _WORDS[base]
    if issubclass(base, StrEnum):
        return "one of " + ", ".join(f"`{member}`" for member in base)
    tag: str | None = getattr(cast(object, base), "tag", None)
    return f"a `{tag} {{ … }}` block" if tag else f"`{base.__name__}`"
