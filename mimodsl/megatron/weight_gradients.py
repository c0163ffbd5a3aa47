"""Gradients of weights, added within their product to the ones that DDP reduces."""

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
    """Have megatron-core's linears add their weights' gradients with `add_product`.

    With `gradient_accumulation_fusion` megatron-core 0.19.2 asks for a kernel of apex
    (tensor_parallel/layers.py:40, 1070), which few machines have; torch has had the product since
    2.11. Transformer Engine's linears have their own.
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
