"""Plain values that stand for objects which only a built program can import."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen
class Name:
    """An object of a package that the planner does not import, as `package.module:name`."""

    path: str

    @property
    def module(self) -> str:
        return self.path.partition(":")[0]

    @property
    def name(self) -> str:
        return self.path.partition(":")[2]


@frozen
class Call:
    """What a callable gives for positional and keyword arguments."""

    function: Name
    positional: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(factory=dict[str, Any])


type Fields = dict[str, Any]
"""Arguments by name: plain values, `Name` and `Call`."""


def merged(*parts: Fields) -> Fields:
    """All fields of several parts, none of which sets a field of another."""
    fields: Fields = {}
    for part in parts:
        assert not fields.keys() & part.keys(), "each field has one source"
        fields |= part
    return fields
