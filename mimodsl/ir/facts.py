"""The facts of a field: what a change affects, its names in other programs, its needs."""

from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Any, Final

from attrs import Factory, field, frozen


class Aspect(StrEnum):
    """The part of a spec that a difference belongs to."""

    LAYOUT = "layout"  # where things are computed: the model and its losses stay the same
    MODEL = "model"  # what is computed from a sample
    TRAINING = "training"  # what the model learns from it


class Changes(Enum):
    """What a change of a field's value affects."""

    LAYOUT = "layout"  # how and where the same numbers are computed
    SHAPES = "shapes"  # which weights a module has, their shapes, or where a value lies in them
    FUNCTION = "function"  # what a module computes with the same weights
    TRAINING = "training"  # what the model learns, with the same function

    @property
    def aspect(self) -> Aspect:
        return Aspect.MODEL if self in (SHAPES, FUNCTION) else Aspect(self.value)


LAYOUT: Final = Changes.LAYOUT
SHAPES: Final = Changes.SHAPES
FUNCTION: Final = Changes.FUNCTION
TRAINING: Final = Changes.TRAINING


@frozen
class Needs:
    """A condition under which a field has an effect.

    `met` takes the node with the field. `field` is the field of the same node that decides; without
    one, the layers of the module decide.
    """

    words: str
    met: Callable[[Any], bool]
    field: str | None = None


def needs_value(name: str, value: object) -> Needs:
    """The condition that another field of the same node has this value."""
    word = str(value).lower() if isinstance(value, bool) else str(value)
    return Needs(f"`{name} = {word}`", lambda node: getattr(node, name) == value, name)


class Derived:
    """Names in Megatron whose values are computed from a field, not copied.

    The first name is the closest to the field.
    """

    def __init__(self, *names: str) -> None:
        self.names = names


def _nearest(name: str | Derived | None) -> str:
    """The first name, without the class in front of it."""
    first = name.names[0] if isinstance(name, Derived) else name or ""
    return first.rpartition(".")[2]


def _words(names: str | None) -> tuple[str, ...]:
    return tuple(names.split()) if names else ()


def _flag_of_same_name(facts: "Facts") -> str:
    if not isinstance(facts.megatron, str):
        raise TypeError("the flag of a field that Megatron-Core has no name for must be stated")
    return _nearest(facts.megatron).replace("_", "-")


@frozen
class Facts:
    """The facts of a field besides its meaning; every field of our classes has them.

    `None` means that there is no such name, or that the field always has an effect.

    Attributes:
        changes: what a change of the value affects.
        megatron: Megatron-Core's field of the same value, in the config that the class names as
            its `megatron_config`, or, with a dot, an argument of another class.
        hf: the keys of a Hugging Face `config.json`, the usual one first.
        flag: the command-line flag of Megatron-LM, without dashes in front. It follows from
            `megatron` where that is a name; elsewhere it must be stated.
        also: further names that users may write.
        needs: the condition under which the field has an effect.
    """

    changes: Changes
    megatron: str | Derived | None = field(kw_only=True)
    hf: tuple[str, ...] = field(kw_only=True, converter=_words)
    flag: str | Derived | None = field(
        kw_only=True, default=Factory(_flag_of_same_name, takes_self=True)
    )
    also: tuple[str, ...] = field(kw_only=True, converter=_words, default=None)
    needs: Needs | None = field(kw_only=True, default=None)

    @property
    def copied(self) -> str | None:
        """The field of Megatron-Core's config that takes the value unchanged."""
        name = self.megatron
        return name if isinstance(name, str) and "." not in name else None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which users may look for the field."""
        flag = self.flag.replace("-", "_") if isinstance(self.flag, str) else ""
        names = dict.fromkeys([_nearest(self.megatron), flag, *self.hf, *self.also])
        return tuple(filter(None, names))


def unnamed(changes: Changes) -> Facts:
    """The facts of a field without a name in other programs."""
    return Facts(changes, megatron=None, flag=None, hf=None)
