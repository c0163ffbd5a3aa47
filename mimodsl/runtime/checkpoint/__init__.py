"""Checkpoints: folders that hold a whole run, written at once and loaded into any layout."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mimodsl.runtime.checkpoint.exports import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """The names of `exports`, which bring torch, imported when one is first asked for."""
    exports = import_module(f"{__name__}.exports")
    if name not in exports.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(exports, name)
