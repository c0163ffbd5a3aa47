"""The two kernel sets: which linear, norm, attention and expert modules a layer is made of.

A kernel set is a `BackendSpecProvider`, megatron-core's own word for it (models/backends.py). Both
give the same parameters under the same checkpoint keys.
"""

from functools import partial
from typing import Any, override

from megatron.core.extensions.transformer_engine_spec_provider import TESpecProvider
from megatron.core.models.backends import LocalSpecProvider
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.megatron.local_attention import FlashAttention
from mimodsl.megatron.local_experts import GroupedMLP, has_grouped_product
from mimodsl.megatron.local_layers import ExpertRowLinear, LocalNorm, NormColumnParallelLinear
from mimodsl.planner.experts import torch_takes


class LocalKernels(LocalSpecProvider):
    """megatron-core's own modules, with norms that know sequence parallelism, and flash attention.

    As with Transformer Engine, a norm before a linear is a part of that linear.
    """

    @override
    def fuse_layernorm_and_linear(self) -> bool:
        return True

    @override
    def column_parallel_layer_norm_linear(self) -> type:
        return NormColumnParallelLinear

    @override
    def grouped_mlp_modules(self, moe_use_grouped_gemm: bool) -> Any:
        return local_experts(grouped=moe_use_grouped_gemm)

    @override
    def layer_norm(
        self, rms_norm: bool = False, for_qk: bool = False, has_residual: bool = False
    ) -> type:
        return LocalNorm

    @override
    def core_attention(self) -> type:
        return FlashAttention


class TransformerEngineKernels(TESpecProvider):
    """megatron-core's own modules of Transformer Engine, and torch's grouped product of experts.

    Transformer Engine 2.12 multiplies expert by expert, on several streams: of sixteen, a product
    takes the host 2 ms, several times what it takes a GPU (benchmarks/gpu.md).
    """

    @override
    def grouped_mlp_modules(self, moe_use_grouped_gemm: bool) -> Any:
        theirs = super().grouped_mlp_modules(moe_use_grouped_gemm)
        if not moe_use_grouped_gemm:
            return theirs
        return partial(grouped_experts, ours=local_experts(grouped=True), theirs=theirs)


def local_experts(*, grouped: bool) -> Any:
    """What a layer builds its experts from: one product of all, or one expert after the other."""
    experts = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=ExpertRowLinear)
    return partial(GroupedMLP if grouped else SequentialMLP, submodules=experts)


def grouped_experts(
    count: int, config: TransformerConfig, *, ours: Any, theirs: Any, **kwargs: Any
) -> Any:
    """Experts of one rank in torch's product where it takes them, else in Transformer Engine's."""
    sizes: Any = config
    width = sizes.moe_ffn_hidden_size // sizes.expert_tensor_parallel_size
    is_taken = has_grouped_product() and torch_takes(
        config.hidden_size, width, bf16=config.bf16, bias=config.add_bias_linear
    )
    return (ours if is_taken else theirs)(count, config, **kwargs)
