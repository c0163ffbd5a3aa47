"""Specs of transformer layers, whose roles are named here and whose modules a kernel set has."""

from functools import partial
from typing import Any, cast

from megatron.core.fusions.fused_bias_dropout import (
    get_bias_dropout_add,  # pyright: ignore[reportUnknownVariableType]
)
from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.gpt.moe_module_specs import get_moe_module_spec_for_backend
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    MlpBuilder,
    TransformerLayer,
    TransformerLayerSubmodules,
)

# Untyped, and a function where spec fields say type: build_module hands functions on as they are.
BIAS_DROPOUT_ADD = cast(Any, get_bias_dropout_add)


def norm_linear(modules: BackendSpecProvider) -> Any:
    """A column-parallel linear with a norm before it."""
    linear = modules.column_parallel_layer_norm_linear()
    assert linear is not None, "both kernel sets have one"
    return linear


def transformer_layer(
    modules: BackendSpecProvider,
    mask: AttnMaskType,
    qk_norm: bool,
    mlp: MlpBuilder,
    *,
    has_experts: bool = False,
) -> ModuleSpec:
    """A layer of attention and an MLP, or of attention and experts."""
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            self_attention=attention_layer(modules, mask, qk_norm),
            self_attn_bda=BIAS_DROPOUT_ADD,
            # A dense MLP's norm is in its first linear; the router needs normalised tokens too.
            pre_mlp_layernorm=modules.layer_norm() if has_experts else IdentityOp,
            mlp=mlp,
            mlp_bda=BIAS_DROPOUT_ADD,
        ),
    )


def attention_layer(modules: BackendSpecProvider, mask: AttnMaskType, qk_norm: bool) -> ModuleSpec:
    """Self-attention, with or without norms of queries and keys."""
    head_norm = modules.layer_norm(for_qk=True) if qk_norm else None
    return ModuleSpec(
        module=SelfAttention,
        params={"attn_mask_type": mask},
        submodules=SelfAttentionSubmodules(
            linear_qkv=norm_linear(modules),
            core_attention=modules.core_attention(),
            linear_proj=modules.row_parallel_linear(),
            q_layernorm=head_norm,
            k_layernorm=head_norm,
        ),
    )


def mlp_layer(modules: BackendSpecProvider) -> MlpBuilder:
    """A dense MLP, whose first linear has a norm."""
    return partial(
        MLP.as_mlp_submodule,
        submodules=MLPSubmodules(
            linear_fc1=norm_linear(modules),
            linear_fc2=modules.row_parallel_linear(),
        ),
    )


def moe_layer(modules: BackendSpecProvider, config: TransformerConfig) -> MlpBuilder:
    """A router and its experts."""
    return get_moe_module_spec_for_backend(
        backend=modules,
        num_experts=config.num_moe_experts or 0,
        moe_grouped_gemm=config.moe_grouped_gemm,
    )
