"""Layers of the local kernel set that megatron-core 0.19.2 has only in Transformer Engine."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable
from typing import Any, override

import torch
import torch.nn.functional as F
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

_NORMS: dict[str, Callable[..., nn.Module]] = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm}


class LocalNorm:
    """A torch LayerNorm or RMSNorm whose weights say that they are shared over a split sequence.

    megatron-core's WrappedTorchNorm refuses sequence parallelism (transformer/torch_norm.py:54),
    which MoE with tp > 1 demands. Nothing else is in the way: each tp rank normalises its own
    tokens, and finalize_model_grads sums over tp the gradients of parameters marked
    `sequence_parallel`.
    """

    def __new__(cls, config: TransformerConfig, hidden_size: int, eps: float = 1e-5) -> Any:
        norm = _NORMS[config.normalization](
            hidden_size, eps=eps, device=torch.cuda.current_device(), dtype=config.params_dtype
        )
        for parameter in norm.parameters():
            _mark_sequence_parallel(parameter, config)
        return norm


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
        self.layer_norm_weight = self._norm_parameter(torch.ones, config)
        self.layer_norm_bias = None
        if config.normalization == "LayerNorm":
            self.layer_norm_bias = self._norm_parameter(torch.zeros, config)

    def _norm_parameter(
        self, fill: Callable[..., Tensor], config: TransformerConfig
    ) -> nn.Parameter:
        data = fill(self.input_size, device=torch.cuda.current_device(), dtype=config.params_dtype)
        return _mark_sequence_parallel(nn.Parameter(data), config)

    @override
    def forward(self, input_: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        shape = (self.input_size,)
        if self.layer_norm_bias is None:
            normed = F.rms_norm(input_, shape, self.layer_norm_weight, self.eps)
        else:
            normed = F.layer_norm(
                input_, shape, self.layer_norm_weight, self.layer_norm_bias, self.eps
            )
        return super().forward(normed, *args, **kwargs)


class LocalHybridStack(HybridStack):
    """A hybrid stack with a local final norm: HybridStack makes Transformer Engine's by name
    (models/hybrid/hybrid_block.py:225)."""

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


def _mark_sequence_parallel(parameter: nn.Parameter, config: TransformerConfig) -> nn.Parameter:
    parameter.sequence_parallel = config.sequence_parallel  # pyright: ignore[reportAttributeAccessIssue]
    return parameter
