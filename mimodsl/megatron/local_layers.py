"""Layers of the local kernel set that megatron-core has only in Transformer Engine.

Megatron does: its torch norm refuses sequence parallelism (transformer/torch_norm.py,
"assert not config.sequence_parallel"), the hybrid stack makes its last norm from Transformer Engine
by name (models/hybrid/hybrid_block.py, "self.final_norm = TENorm"), and the second linear of an
expert sums its output over one rank, as a view (transformer/mlp.py,
"output += output_bias.unsqueeze"), and the gradients of its bias over tp
(tensor_parallel/layers.py, "class RowParallelLinear … self.bias.zero_()").
Why it hurts: without Transformer Engine no model splits its sequence, hybrid models cannot be
built, and experts with biases fail or train on wrong gradients.
Goes when: megatron-core's local layers take these layouts.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from typing import Any, override

import torch
import torch.nn.functional as F
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn


class LocalNorm(nn.Module):
    """A LayerNorm or RMSNorm whose weights say that they are shared over a split sequence.

    megatron-core's WrappedTorchNorm refuses sequence parallelism (transformer/torch_norm.py,
    "assert not config.sequence_parallel"), which MoE with tp > 1 demands. Nothing else is in the
    way: each tp rank normalises its own tokens, and finalize_model_grads sums over tp the gradients
    of parameters marked `sequence_parallel`. Input and output `[..., h]`, the output in the
    weights' dtype.
    """

    bias: nn.Parameter | None

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = _norm_parameters(config, hidden_size)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return _norm(x, self.weight, self.bias, self.eps)


class NormColumnParallelLinear(ColumnParallelLinear):
    """A norm and the column-parallel linear behind it, as TELayerNormColumnParallelLinear.

    Its norm's parameters have that class's names, so checkpoints pass between kernel sets.
    Input `[s, b, h]`, or `[s/tp, b, h]` with sequence parallelism; output `[s, b, h/tp]`.
    """

    layer_norm_bias: nn.Parameter | None

    def __init__(
        self, input_size: int, output_size: int, *, config: TransformerConfig, **kwargs: Any
    ) -> None:
        super().__init__(input_size, output_size, config=config, **kwargs)
        self.eps = config.layernorm_epsilon
        self.layer_norm_weight, self.layer_norm_bias = _norm_parameters(config, input_size)

    @override
    def forward(self, input_: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        normed = _norm(input_, self.layer_norm_weight, self.layer_norm_bias, self.eps)
        return super().forward(normed, *args, **kwargs)


class ExpertRowLinear(RowParallelLinear):
    """The second linear of an expert, whose output takes a bias in place.

    Where ep and etp are 1, megatron-core sums that output over the one rank: a view, to
    which autograd lets nothing be added (transformer/mlp.py, "output += output_bias.unsqueeze").
    Outputs of experts are summed when their tokens come back, in any layout, so this sum is left
    out as it is with ep.

    And it sums the gradients of biases over the ranks of tp, as where these split one sequence
    (tensor_parallel/layers.py, "class RowParallelLinear … self.bias.zero_()"). Here they belong to
    other experts, or are summed over edp.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert self.is_expert
        self.explicit_expert_comm = True
        bias: Any = self.bias
        if bias is not None:
            bias.sequence_parallel = False


class LocalHybridStack(HybridStack):
    """A hybrid stack with a local final norm: HybridStack makes Transformer Engine's by name
    (models/hybrid/hybrid_block.py, "self.final_norm = TENorm")."""

    def __init__(
        self,
        config: TransformerConfig,
        *args: Any,
        post_layer_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(config, *args, post_layer_norm=False, **kwargs)
        self.post_layer_norm = post_layer_norm
        if self.post_process and post_layer_norm:
            self.final_norm = LocalNorm(config, config.hidden_size, config.layernorm_epsilon)


def _norm_parameters(
    config: TransformerConfig, size: int
) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Weight and bias of a norm; an RMSNorm has no bias."""

    def parameter(value: float) -> nn.Parameter:
        device = torch.cuda.current_device()
        data = torch.full((size,), value, device=device, dtype=config.params_dtype)
        new: Any = nn.Parameter(data)
        new.sequence_parallel = config.sequence_parallel
        return new

    has_bias = config.normalization == "LayerNorm"
    return parameter(1.0), parameter(0.0) if has_bias else None


def _norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Normalises in x's precision, which with an fp32 residual stream is above the weights'."""
    if bias is None:
        normed = F.rms_norm(x, weight.shape, weight.to(x.dtype), eps)
    else:
        normed = F.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), eps)
    return normed.to(weight.dtype)
