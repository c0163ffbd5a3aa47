"""Keeps libraries of GPU kernels from megatron-core in a process whose ranks compute on a CPU."""

import contextlib
import sys
from types import ModuleType
from typing import Final, cast

KERNEL_LIBRARIES: Final = ("transformer_engine", "apex")
"""Wherever these can be imported megatron-core 0.19.2 takes parts of them, in routers, optimizers
and gradient norms, and asks no device (transformer/moe/moe_utils.py:1325, optimizer/__init__.py:16,
optimizer/clip_grads.py:14)."""


def loaded_kernels() -> str | None:
    """A library that this process has loaded, and can hide no more."""
    return next((name for name in KERNEL_LIBRARIES if sys.modules.get(name) is not None), None)


def hide_kernels() -> contextlib.ExitStack:
    """Has imports of the libraries fail that this process has not loaded already.

    Called before anything of megatron-core is imported. It lasts as long as the process, or, the
    result used as a context manager, until that is left: what was imported meanwhile goes without.
    """
    with contextlib.ExitStack() as undo:
        for name in KERNEL_LIBRARIES:
            if name not in sys.modules:
                # `None` is what makes an import fail; typeshed knows of modules alone.
                sys.modules[name] = cast(ModuleType, None)
                undo.callback(sys.modules.pop, name)
        return undo.pop_all()
