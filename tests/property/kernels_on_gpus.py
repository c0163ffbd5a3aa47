"""Stand-ins on a CPU for kernels of a GPU: what they save for the backward pass, and nothing else.

Each is an autograd function that saves the tensors that its kernel does, by the source that it
names, and gives an output of the right shape. No gradient is ever taken.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Kernel(torch.autograd.Function):
    """Saves `kept` and gives `output`, which depends on all of `inputs`."""

    @staticmethod
    def forward(ctx: Any, kept: list[Tensor], output: Tensor, *inputs: Tensor) -> Tensor:
        del inputs
        ctx.save_for_backward(*kept)
        return output.view_as(output)


def _run(kept: list[Tensor], output: Tensor, *inputs: Tensor | None) -> Tensor:
    run: Any = _Kernel.apply
    return run(kept, output.detach(), *(one for one in inputs if one is not None))


def rms_norm(x: Tensor, shape: Any, weight: Tensor, eps: float | None = None) -> Tensor:
    """`_fused_rms_norm` on CUDA: its input and, in fp32, a factor a row (aten/src/ATen/native/
    layer_norm.cpp of torch 2.11)."""
    del shape, eps
    rstd = torch.zeros(*x.shape[:-1], 1, dtype=torch.float32)
    return _run([x, rstd, weight], torch.zeros_like(x), x, weight)


def attention(query: Tensor, key: Tensor, value: Tensor, **kwargs: Any) -> Tensor:
    """`_scaled_dot_product_flash_attention`: its operands, its output, laid out `[b, s, n, d]`, and
    the logarithm of each query's sum in fp32 (aten/src/ATen/native/transformers/cuda/
    attention.cu of torch 2.11)."""
    del kwargs
    b, n, s, d = query.shape
    output = torch.zeros(b, s, n, d, dtype=query.dtype).transpose(1, 2)
    sums = torch.zeros(b, n, s, dtype=torch.float32)
    return _run([query, key, value, output, sums], output, query, key, value)


def split_conv1d_scan(
    zxbcdt: Tensor, *weights: Any, D: Tensor, headdim: int, **kwargs: Any
) -> Tensor:
    """`MambaSplitConv1dScanCombinedFn`: its input and what it scanned, before the gate (mamba_ssm
    2.3.2, ops/triton/ssd_combined.py:883)."""
    del kwargs
    b, s, _ = zxbcdt.shape
    inner = D.shape[0] * headdim
    scanned = torch.zeros(b, s, inner, dtype=zxbcdt.dtype)
    kept = [zxbcdt, scanned, D, *(one for one in weights if isinstance(one, Tensor))]
    return _run(kept, torch.zeros_like(scanned), zxbcdt)


def gated_norm(self: Any, x: Tensor, z: Tensor | None = None) -> Tensor:
    """`LayerNormFn`: its input and, in fp32, a factor a row and group (mamba_ssm 2.3.2,
    ops/triton/layernorm_gated.py)."""
    assert z is None, "MambaMixer gates in the scan"
    groups = x.shape[-1] // self.group_size
    rstd = torch.zeros(groups * x.shape[:-1].numel(), dtype=torch.float32)
    return _run([x, rstd, self.weight], torch.zeros_like(x), x, self.weight)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`native_dropout` on CUDA: a byte an element (aten/src/ATen/native/Dropout.cpp)."""
    del inplace
    if not training or p == 0:
        return x
    return _run([torch.zeros_like(x, dtype=torch.bool)], torch.zeros_like(x), x)


def one_kernel(x: Tensor) -> Tensor:
    """An activation that torch.compile makes one kernel of: its input (core/jit.py)."""
    return _run([x], torch.zeros_like(x), x)


STAND_INS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("torch.nn.functional.rms_norm", rms_norm),
    ("torch.nn.functional.dropout", dropout),
    ("torch.nn.functional.scaled_dot_product_attention", attention),
    ("megatron.core.ssm.mamba_mixer.mamba_split_conv1d_scan_combined", split_conv1d_scan),
    ("mimodsl.megatron.cpu.mamba_kernels.GatedRMSNorm.forward", gated_norm),
    ("mimodsl.megatron.local_attention._takes_groups", lambda query: True),
)
