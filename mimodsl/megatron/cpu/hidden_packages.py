"""Hides libraries of GPU kernels from megatron-core in a process whose ranks compute on a CPU.

Megatron does: wherever Transformer Engine or apex can be imported, it takes routers, optimizers and
gradient norms from them, and asks for no device (transformer/moe/moe_utils.py,
"class RouterGatingLinearFunction … te_general_gemm"; optimizer/__init__.py,
"transformer_engine.pytorch.optimizers import FusedAdam"; optimizer/clip_grads.py,
"multi_tensor_scale, multi_tensor_scale_tensor").
Why it hurts: their kernels take CUDA tensors alone, so a run on the CPU of a GPU machine fails.
Goes when: megatron-core looks at the device of the tensors.
"""

import contextlib
import sys
from types import ModuleType
from typing import Final, cast

KERNEL_LIBRARIES: Final = ("transformer_engine", "apex")


def loaded_kernels() -> str | None:
    """A library that this process has loaded already, so that it cannot hide it."""
    return next((name for name in KERNEL_LIBRARIES if sys.modules.get(name) is not None), None)


def hide_kernels() -> contextlib.ExitStack:
    """Make imports of these libraries fail, unless this process has loaded them already.

    Call it before any import of megatron-core. It lasts as long as the process, or, if the result
    is used as a context manager, until that ends. Modules imported meanwhile go without them.
    """
    with contextlib.ExitStack() as undo:
        for name in KERNEL_LIBRARIES:
            if name not in sys.modules:
                # `None` is what makes an import fail; typeshed expects modules.
                sys.modules[name] = cast(ModuleType, None)
                undo.callback(sys.modules.pop, name)
        return undo.pop_all()
