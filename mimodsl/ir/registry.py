"""Where kinds come from: built-in and registered ones, and those of installed packages."""

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
    told_of,
)
from mimodsl.ir.projector import AffineProjector, MlpProjector
from mimodsl.ir.schema import schema
from mimodsl.ir.types import Size
from mimodsl.ir.vision import Radio, Vit

_OURS: Final = (Radio, Vit, MlpProjector, AffineProjector, Gpt, Hybrid)

KINDS: Final[dict[str, type[Kind]]] = {kind.keyword: kind for kind in _OURS}
"""The kinds by keyword, in the order in which they are listed: ours, then registered ones."""

GROUP: Final = "mimodsl.kinds"
"""The entry points, by keyword, with which installed packages name their kinds."""

_PLAIN: Final = (int, float, bool, str, Size, StrEnum)
_TAKEN: Final = ("frozen", "grid", "type")
"""Fields that every module has, and the key that says in JSON what an object is."""

_NAMES: Final = {
    "keyword": (r"[A-Za-z_][A-Za-z0-9_]*", "my_encoder"),
    "builder": (r"[\w.]+:\w+", "package.module:function"),
}
"""What a kind has to say, the form that it has, and an example: a keyword is a word of a spec."""


def kind_of(keyword: str) -> type[Kind] | None:
    """The kind of a keyword: a built-in or registered one, else that of an installed package.

    Raises `BrokenKind` where a package names one that can't be had.
    """
    return KINDS.get(keyword) or _installed_kind(keyword)


def known_kind(keyword: str) -> type[Kind] | None:
    """As `kind_of`, and `None` for a broken one, too."""
    try:
        return kind_of(keyword)
    except BrokenKind:
        return None


def shadowed(keyword: str) -> str | None:
    """The place of an installed package's kind whose keyword is one of mimodsl's own."""
    entries = _entry_points().get(keyword, ()) if keyword in KINDS else ()
    return entries[0].value if entries else None


def installed_kinds() -> dict[str, type[Kind]]:
    """Every kind that can be had, by keyword, the built-in ones first; broken ones are left out."""
    found = {keyword: known_kind(keyword) for keyword in (*KINDS, *_entry_points())}
    return {keyword: kind for keyword, kind in found.items() if kind is not None}


def forget_installed() -> None:
    """Look for packages anew: one may have been installed since this process first looked."""
    _entry_points.cache_clear()
    _installed_kind.cache_clear()


def register[K: type[CustomKind]](kind: K) -> K:
    """Make a kind known without a package, for a script or a notebook.

    Raises `BrokenKind` where it is none, or where mimodsl has its keyword for one of its own.
    """
    for what in _mistakes(kind):
        raise BrokenKind(f"{_name(kind)} {what}")
    if not issubclass(KINDS.get(kind.keyword, CustomKind), CustomKind):
        owner = f"mimodsl's own kind `{kind.keyword}`"
        raise BrokenKind(f"{_name(kind)} has the keyword of {owner}")
    KINDS[kind.keyword] = kind
    return kind


def _name(kind: object) -> str:
    return f"{kind.__module__}:{kind.__qualname__}" if isinstance(kind, type) else repr(kind)


def named(path: str) -> Any:
    """The object of `package.module:name`. Raises what importing it raises, `AttributeError`, and
    `ValueError` where the path is none."""
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
    except Exception as error:  # whatever a package does wrong
        raise BrokenKind(f"`{keyword}` of {places[0]} fails: {told_of(error)}") from error
    for what in _mistakes(kind):
        raise BrokenKind(f"`{keyword}` of {places[0]} {what}")
    if kind.keyword != keyword:
        raise BrokenKind(f"`{keyword}` of {places[0]} has another keyword, `{kind.keyword}`")
    return kind


@cache
def _entry_points() -> dict[str, tuple[Any, ...]]:
    """What installed packages name, by keyword: one entry point, or several that differ."""
    from importlib.metadata import entry_points  # slow, and for words that nothing else explains

    found: dict[str, dict[str, Any]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, {})[entry.value] = entry
    return {name: tuple(values.values()) for name, values in found.items()}


def _mistakes(kind: object) -> Iterator[str]:
    """What keeps a class from being a kind of another package, or any other thing from it."""
    if not (
        isinstance(kind, type)
        and issubclass(kind, CustomEncoder | CustomProjector | CustomLanguage)
    ):
        yield "is no CustomEncoder, CustomProjector or CustomLanguage"
        return
    if "__attrs_attrs__" not in vars(kind):
        yield "is no `@node`"
        return
    for name, (form, example) in _NAMES.items():
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
        if field.name in _TAKEN:
            yield f"has a field `{field.name}`, which means something else in every module"
        if KNOB not in field.metadata and field.name != "origin":
            yield f"has a field `{field.name}` that is no `knob`"
    for one in schema(kind):
        if not all(map(_is_plain, one.type.bases)):
            yield f"has a field `{one.name}` of a type that no field has"
            return
        refused = None if one.required else one.refusal(one.default)
        if refused:
            yield f"has a default of `{one.name}` that it refuses: {refused}"


def _is_plain(base: object) -> bool:
    """Whether a spec, a JSON document and a message can have values of a type."""
    return isinstance(base, type) and issubclass(base, _PLAIN)
