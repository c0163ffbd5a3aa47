"""Gradients of weights, added to the gradients that DDP reduces within the product that makes them.

Megatron does: with `gradient_accumulation_fusion` its linears ask for a kernel of apex
(tensor_parallel/layers.py, "import fused_weight_gradient_mlp_cuda";
tensor_parallel/layers.py, "if config.gradient_accumulation_fusion").
Why it hurts: few machines have apex, and without the fusion each weight's gradient is in memory
twice. torch has the product since 2.11.
Goes when: the linears of megatron-core take torch's product where apex is missing.
"""

from types import SimpleNamespace
from typing import Any, cast

import torch
from megatron.core.tensor_parallel import layers as linears
from torch import Tensor


def add_product(x: Tensor, grad: Tensor, main_grad: Tensor) -> None:
    """Adds `grad.T @ x` to `main_grad`: `[t, k]` and `[t, n]` to `[n, k]`, which may be in fp32.

    On a GPU factors in bf16 are added up in fp32, and the product is not rounded in between.
    """
    if x.dtype == main_grad.dtype:
        torch.addmm(main_grad, grad.t(), x, out=main_grad)
    elif x.is_cuda:
        torch.addmm(main_grad, grad.t(), x, out_dtype=main_grad.dtype, out=main_grad)
    else:
        main_grad.add_(grad.t() @ x)


def provide_weight_gradients() -> None:
    """Make megatron-core's linears add the gradients of their weights with `add_product`.

    Transformer Engine's linears have a kernel of their own.
    """
    theirs = cast(Any, linears)
    if not theirs._grad_accum_fusion_available:  # noqa: SLF001
        product = {"wgrad_gemm_accum_fp32": add_product, "wgrad_gemm_accum_fp16": add_product}
        theirs.fused_weight_gradient_mlp_cuda = SimpleNamespace(**product)
        theirs._grad_accum_fusion_available = True  # noqa: SLF001


def add_gradient(weight: Tensor, gradient: Tensor) -> Tensor:
    """Adds a gradient to the one that DDP reduces, if it has wrapped the weight's module, and tells
    DDP so. Returns what autograd is to have for it: DDP waits for some gradient, and drops it.
    """
    parameter: Any = weight
    if hasattr(parameter, "main_grad"):
        parameter.main_grad.add_(gradient)
        parameter.grad_added_to_main_grad = True
    return gradient
