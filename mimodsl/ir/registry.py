"""The registry of kinds: built-in kinds, registered kinds, and kinds of installed packages."""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import Any, Final, cast

import attrs

from mimodsl.ir.decoder import Gpt
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.kinds import Kind
from mimodsl.ir.node import KNOB
from mimodsl.ir.package import (
    BrokenKind,
    CustomEncoder,
    CustomKind,
    CustomLanguage,
    CustomProjector,
    describe_error,
)
from mimodsl.ir.projector import AffineProjector, MlpProjector
from mimodsl.ir.schema import schema
from mimodsl.ir.types import Size
from mimodsl.ir.vision import Radio, Vit

_BUILT_IN: Final = (Radio, Vit, MlpProjector, AffineProjector, Gpt, Hybrid)

KINDS: Final[dict[str, type[Kind]]] = {kind.keyword: kind for kind in _BUILT_IN}
"""The kinds by keyword, in the order of listings: built-in kinds, then registered kinds."""

GROUP: Final = "mimodsl.kinds"
"""The group of the entry points with which installed packages name their kinds."""

_FIELD_TYPES: Final = (int, float, bool, str, Size, StrEnum)
_RESERVED_FIELDS: Final = ("frozen", "grid", "type")
"""Fields of every module, and the key that names the class of a JSON object."""

_REQUIRED_NAMES: Final = {
    "keyword": (r"[A-Za-z_][A-Za-z0-9_]*", "my_encoder"),
    "builder": (r"[\w.]+:\w+", "package.module:function"),
}
"""Class variables that a kind must have: the form of the value, and an example."""


def kind_of(keyword: str) -> type[Kind] | None:
    """The kind with a keyword: a built-in or registered kind, else one of an installed package.

    Raises `BrokenKind` if the package's kind is unusable.
    """
    return KINDS.get(keyword) or _installed_kind(keyword)


def known_kind(keyword: str) -> type[Kind] | None:
    """Like `kind_of`, but `None` for an unusable kind."""
    try:
        return kind_of(keyword)
    except BrokenKind:
        return None


def shadowed(keyword: str) -> str | None:
    """The place of an installed package's kind whose keyword is a built-in one."""
    entries = _entry_points().get(keyword, ()) if keyword in KINDS else ()
    return entries[0].value if entries else None


def installed_kinds() -> dict[str, type[Kind]]:
    """Every usable kind by keyword, built-in kinds first."""
    kinds = {keyword: known_kind(keyword) for keyword in (*KINDS, *_entry_points())}
    return {keyword: kind for keyword, kind in kinds.items() if kind is not None}


def forget_installed() -> None:
    """Clear the caches: a package may have been installed since the first look."""
    _entry_points.cache_clear()
    _installed_kind.cache_clear()


def register[K: type[CustomKind]](kind: K) -> K:
    """Make a kind known without a package, for a script or a notebook.

    Raises `BrokenKind` for an invalid kind, and for the keyword of a built-in kind.
    """
    for mistake in _kind_mistakes(kind):
        raise BrokenKind(f"{_name(kind)} {mistake}")
    if not issubclass(KINDS.get(kind.keyword, CustomKind), CustomKind):
        owner = f"mimodsl's own kind `{kind.keyword}`"
        raise BrokenKind(f"{_name(kind)} has the keyword of {owner}")
    KINDS[kind.keyword] = kind
    return kind


def _name(kind: object) -> str:
    return f"{kind.__module__}:{kind.__qualname__}" if isinstance(kind, type) else repr(kind)


def import_object(path: str) -> Any:
    """The object at `package.module:name`.

    Raises `ValueError` for another form, `AttributeError`, and whatever the import raises.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ValueError(f"{path!r} is not of the form package.module:name")
    return getattr(import_module(module), name)


@cache
def _installed_kind(keyword: str) -> type[Kind] | None:
    entries = _entry_points().get(keyword, ())
    if not entries:
        return None
    places = [entry.value for entry in entries]
    if len(places) > 1:
        raise BrokenKind(f"`{keyword}` is named by several packages: {', '.join(places)}")
    try:
        kind = entries[0].load()
    except Exception as error:  # a package can raise anything
        raise BrokenKind(f"`{keyword}` of {places[0]} fails: {describe_error(error)}") from error
    for mistake in _kind_mistakes(kind):
        raise BrokenKind(f"`{keyword}` of {places[0]} {mistake}")
    if kind.keyword != keyword:
        raise BrokenKind(f"`{keyword}` of {places[0]} has another keyword, `{kind.keyword}`")
    return kind


@cache
def _entry_points() -> dict[str, tuple[Any, ...]]:
    """The entry points of installed packages, by keyword; several if they differ."""
    from importlib.metadata import entry_points  # slow to import, and only needed for unknown words

    entries_by_name: dict[str, dict[str, Any]] = {}
    for entry in entry_points(group=GROUP):
        entries_by_name.setdefault(entry.name, {})[entry.value] = entry
    return {name: tuple(values.values()) for name, values in entries_by_name.items()}


def _kind_mistakes(kind: object) -> Iterator[str]:
    """Why a class is not a valid kind of another package."""
    if not (
        isinstance(kind, type)
        and issubclass(kind, CustomEncoder | CustomProjector | CustomLanguage)
    ):
        yield "is not a CustomEncoder, CustomProjector or CustomLanguage"
        return
    if "__attrs_attrs__" not in vars(kind):
        yield "is not a `@node`"
        return
    for name, (form, example) in _REQUIRED_NAMES.items():
        value = getattr(kind, name, None)
        if not isinstance(value, str) or not re.fullmatch(form, value):
            yield f'needs a `{name}: ClassVar[str] = "{example}"`'
    if issubclass(kind, CustomLanguage):
        for name in ("hidden", "vocabulary"):
            if not hasattr(kind, name):
                yield f"needs a field `{name}`"
    yield from _field_mistakes(kind)


def _field_mistakes(kind: type[CustomKind]) -> Iterator[str]:
    for field in cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(kind)):
        if field.name in _RESERVED_FIELDS:
            yield f"has a field `{field.name}`, a name that every module uses itself"
        if KNOB not in field.metadata and field.name != "origin":
            yield f"has a field `{field.name}` that is not a `knob`"
    for field_schema in schema(kind):
        if not all(map(_is_plain, field_schema.type.bases)):
            yield f"has a field `{field_schema.name}` of an unsupported type"
            return
        refusal = None if field_schema.required else field_schema.refusal(field_schema.default)
        if refusal:
            yield f"has an invalid default for `{field_schema.name}`: {refusal}"


def _is_plain(base: object) -> bool:
    """Whether specs, JSON documents and messages can contain values of a type."""
    return isinstance(base, type) and issubclass(base, _FIELD_TYPES)
