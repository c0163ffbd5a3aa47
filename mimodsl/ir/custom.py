"""Kinds from other packages: what they say of themselves, and how they are found."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Final

from mimodsl.ir.encoder import Encoder
from mimodsl.ir.kinds import KINDS, Kind
from mimodsl.ir.node import node

GROUP: Final = "mimodsl.kinds"
"""The entry points, by keyword, with which installed packages name their kinds."""


class BrokenKind(ValueError):
    """An installed package names a kind that is none, or cannot be imported."""


@node
class CustomEncoder(Encoder):
    """The base of an encoder of a package of one's own: any torch module, replicated over dp.

    Its fields are `knob`s, and so are checked, documented and completed like the built-in ones. It
    says what goes in and comes out (`input_shape`, `tokens`, `output_width`), what it holds
    (`weights`) and, for estimates, what one input costs (`saved_bytes`, `flops`), and who makes it.

    `builder` names a function, as `package.module:function`, that is called with the kind on every
    rank that holds it and returns megatron-core's `ModuleSpec` of a module from
    `[n, *input_shape]` to `[n, tokens, output_width]`. `rules`, if given, names a tuple of rules in
    the same way. Both are imported when they are needed: nothing else may import torch.
    """

    builder: ClassVar[str]
    rules: ClassVar[str] = ""

    @property
    def weights(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter of the built module, by torch's name, in torch's order."""
        raise NotImplementedError

    @property
    def saved_bytes(self) -> int:
        """Bytes that one input's forward pass keeps for the backward pass; 0 where not known."""
        return 0

    @property
    def flops(self) -> int:
        """Floating-point operations of one input's forward pass; 0 where not known."""
        return 0


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


def installed_kinds() -> dict[str, type[Kind]]:
    """Every kind that can be had, by keyword, the built-in ones first; broken ones are left out."""
    found = {keyword: known_kind(keyword) for keyword in (*KINDS, *_entry_points())}
    return {keyword: kind for keyword, kind in found.items() if kind is not None}


def named(path: str) -> Any:
    """The object of `package.module:name`. Raises what importing it raises, `AttributeError`, and
    `ValueError` where the path is none."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ValueError(f"{path!r} is not of the form package.module:name")
    return getattr(import_module(module), name)


@cache
def _installed_kind(keyword: str) -> type[Kind] | None:
    entry = _entry_points().get(keyword)
    if entry is None:
        return None
    try:
        kind = entry.load()
    except Exception as error:  # whatever a package does wrong
        raise BrokenKind(
            f"`{keyword}` of {entry.value} fails: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, CustomEncoder)):
        raise BrokenKind(f"`{keyword}` of {entry.value} is no CustomEncoder")
    if getattr(kind, "keyword", None) != keyword:
        raise BrokenKind(f"`{keyword}` of {entry.value} has another keyword")
    return kind


@cache
def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points  # slow, and for words that nothing else explains

    return {entry.name: entry for entry in entry_points(group=GROUP)}
