"""A replaced name of a library: what is put in its place, why, and how it is put back."""

import contextlib
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class Patch:
    """A name of a module that is given another meaning.

    `make` receives the original value and returns the replacement, which can call the original.
    """

    owner: str
    name: str
    make: Callable[[Any], Any]
    why: str


def applied(patches: Iterable[Patch]) -> contextlib.ExitStack:
    """Apply patches, each on top of the ones before. Leaving the result restores the originals."""
    with contextlib.ExitStack() as undo:
        for patch in patches:
            owner = importlib.import_module(patch.owner)
            original = getattr(owner, patch.name)
            setattr(owner, patch.name, patch.make(original))
            undo.callback(setattr, owner, patch.name, original)
        return undo.pop_all()
