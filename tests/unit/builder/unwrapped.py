"""Layers and models that no DDP wraps."""

from typing import Any

from torch import nn


def left_to_autograd[M: nn.Module](module: M) -> M:
    """Have its linears leave the gradients of weights to autograd: nothing else reduces them."""
    for part in module.modules():
        if hasattr(part, "gradient_accumulation_fusion"):
            linear: Any = part
            linear.gradient_accumulation_fusion = False
    return module
