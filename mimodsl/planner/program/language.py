"""What decoders of every form share: fields of the TransformerConfig, and model arguments."""

from typing import Final

from mimodsl.ir.blocks import Attention, Moe, RouterPrecision
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.grid import Grid
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.language import Positions, TransformerLanguage
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.planner.experts import (
    are_grouped,
    is_activation_weighted,
    is_permutation_fused,
    is_routing_fused,
)
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, merged

# Their field: our field of the same meaning.
LANGUAGE: Final = {
    "hidden_size": "hidden",
    "ffn_hidden_size": "mlp_width",
    "layernorm_epsilon": "norm_eps",
    "add_bias_linear": "bias",
    "fp32_residual_connection": "residual_fp32",
}
ATTENTION: Final = {
    "num_attention_heads": "heads",
    "num_query_groups": "key_value_groups",
    "kv_channels": "head_dim",
    "add_qkv_bias": "qkv_bias",
    "qk_layernorm": "qk_norm",
}
MOE: Final = {
    "num_moe_experts": "experts",
    "moe_router_topk": "topk",
    "moe_ffn_hidden_size": "ffn",
    "moe_shared_expert_intermediate_size": "shared_ffn",
    "moe_shared_expert_overlap": "shared_overlap",
    "moe_router_pre_softmax": "pre_softmax",
    "moe_router_topk_scaling_factor": "scaling",
    "moe_router_enable_expert_bias": "expert_bias",
    "moe_router_bias_update_rate": "bias_rate",
    "moe_router_num_groups": "groups",
    "moe_router_group_topk": "group_topk",
    "moe_aux_loss_coeff": "aux_loss",
    "moe_z_loss_coeff": "z_loss",
    "moe_expert_capacity_factor": "capacity_factor",
    "moe_pad_expert_input_to_capacity": "pad_to_capacity",
}

_POSITIONS: Final = {
    Positions.NONE: "none",
    Positions.ROPE: "rope",
    Positions.LEARNED: "learned_absolute",
}


def language_arguments(spec: Spec, kind: TransformerLanguage) -> Fields:
    """Arguments of megatron-core's models besides the config and the layers."""
    return {
        "vocab_size": kind.vocabulary,
        "max_sequence_length": spec.schedule.sequence,
        "share_embeddings_and_output_weights": kind.tie_embeddings,
        "position_embedding_type": _POSITIONS[kind.positions],
        "rotary_base": kind.rope_base,
        "rotary_percent": kind.rope_fraction,
    }


def language_config(spec: Spec, module: Module, kind: Gpt | Hybrid, stack: Fields) -> Fields:
    """The fields of a language model's config. `stack` says what its layers are.

    `kind` has only blocks that layers use: TransformerConfig would check the sizes of others, too.
    """
    grid, moe = spec.grid_of(module), kind.moe
    return merged(
        common.COMMON,
        common.precision(spec),
        # A grouped product of experts with biases refuses it (transformer/moe/experts.py:204).
        common.kernels(spec, fuse_dropout=moe is None or not kind.bias),
        common.parallel(grid),
        {"sequence_parallel": spec.splits_sequence(module)},
        common.transformer(kind),
        common.pick(kind, LANGUAGE),
        common.activation(kind.activation),
        {"normalization": common.NORMS[kind.norm]},
        stack,
        _attention(kind.attention, grid),
        common.NO_EXPERTS if moe is None else _experts(spec, kind, moe, grid),
    )


def _attention(attention: Attention | None, grid: Grid) -> Fields:
    return common.no_attention(grid) if attention is None else common.pick(attention, ATTENTION)


def _experts(spec: Spec, kind: Gpt | Hybrid, moe: Moe, grid: Grid) -> Fields:
    kernels, precision = spec.train.kernels, spec.train.precision
    etp = grid.size("etp")
    router_dtype = None if moe.router_dtype is RouterPrecision.MODEL else moe.router_dtype.value
    return common.pick(moe, MOE) | {
        "expert_model_parallel_size": grid.size("ep"),
        "expert_tensor_parallel_size": etp,
        "moe_router_score_function": moe.score.value,
        "moe_router_load_balancing_type": moe.balance.value,
        "moe_router_dtype": router_dtype,
        "moe_token_dispatcher_type": moe.dispatcher.value,
        "moe_grouped_gemm": are_grouped(kind, moe, kernels, precision, etp),
        "moe_permute_fusion": is_permutation_fused(moe, kernels),
        "moe_router_fusion": is_routing_fused(moe, kernels),
        "use_fused_weighted_squared_relu": is_activation_weighted(
            kind, moe, kernels, precision, etp
        ),
    }
