"""The TransformerConfig of a module, from its kind, its grid and the spec's training section.

Every megatron-core field that a spec decides is set here, by tables from our fields to theirs; what
is not named keeps megatron-core's default.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import attrs
import torch
import torch.nn.functional as F
from megatron.core.activations import quick_gelu, squared_relu
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder.layer_specs import resolve
from mimodsl.checker.rules import rule_of
from mimodsl.checker.runner import check
from mimodsl.ir import (
    Activation,
    Attention,
    Flow,
    Gpt,
    Grid,
    Hybrid,
    Kernels,
    LinearProjector,
    MlpProjector,
    Module,
    Moe,
    Norm,
    Precision,
    Recompute,
    RouterPrecision,
    Spec,
    VisionEncoder,
)
from mimodsl.ir.kinds import TransformerKind
from mimodsl.ir.package import Claims
from mimodsl.planner.experts import (
    are_grouped,
    is_activation_weighted,
    is_permutation_fused,
    is_routing_fused,
)

type Fields = dict[str, Any]

DTYPES: Final = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}

# The function of an MLP; the gated forms are a function and `gated_linear_unit`.
ACTIVATIONS: Final = {
    Activation.GELU: F.gelu,
    # megatron-core's is the same in single steps, for torch to compile (activations.py:21).
    Activation.FAST_GELU: partial(F.gelu, approximate="tanh"),
    Activation.QUICK_GELU: quick_gelu,
    Activation.SILU: F.silu,
    Activation.RELU: F.relu,
    Activation.SQUARED_RELU: squared_relu,
    Activation.SWIGLU: F.silu,
    Activation.GEGLU: F.gelu,
}

NORMS: Final = {Norm.LAYERNORM: "LayerNorm", Norm.RMSNORM: "RMSNorm"}

RECOMPUTE: Final[Mapping[Recompute, Fields]] = {
    Recompute.NONE: {},
    Recompute.SELECTIVE: {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]},
    Recompute.FULL: {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}

COMMON: Final[Fields] = {
    # The same in every module, or encoder and language gradients are scaled differently.
    "calculate_per_token_loss": True,
    # What the multi-module schedule takes (pipeline_parallel/schedules.py:2154,2182); and a batched
    # exchange can hang from four stages on (pipeline_parallel/p2p_communication.py:240).
    "variable_seq_lengths": True,
    "overlap_p2p_comm": False,
    "batch_p2p_comm": False,
    "deallocate_pipeline_outputs": False,
}

NO_EXPERTS: Final[Fields] = {
    # The default, allgather, refuses variable lengths in dense modules too
    # (transformer/transformer_config.py:2644).
    "moe_token_dispatcher_type": "alltoall",
    # An expert axis of the grid bites a module without experts (…:1468).
    "expert_model_parallel_size": 1,
    "expert_tensor_parallel_size": 1,
}

# Their field: our field of the same meaning.
_TRANSFORMER: Final = {
    "init_method_std": "init_std",
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
}
_ENCODER: Final = {
    "num_layers": "layers",
    "hidden_size": "hidden",
    "num_attention_heads": "heads",
    "ffn_hidden_size": "ffn",
    "layernorm_epsilon": "norm_eps",
    "add_bias_linear": "bias",
    "add_qkv_bias": "qkv_bias",
}
_LANGUAGE: Final = {
    "hidden_size": "hidden",
    "ffn_hidden_size": "mlp_width",
    "layernorm_epsilon": "norm_eps",
    "add_bias_linear": "bias",
    "fp32_residual_connection": "residual_fp32",
}
_ATTENTION: Final = {
    "num_attention_heads": "heads",
    "num_query_groups": "key_value_groups",
    "kv_channels": "head_dim",
    "add_qkv_bias": "qkv_bias",
    "qk_layernorm": "qk_norm",
}
_MAMBA: Final = {
    "mamba_num_heads": "heads",
    "mamba_head_dim": "head_dim",
    "mamba_state_dim": "state",
    "mamba_num_groups": "groups",
}
_MOE: Final = {
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


def language_config(spec: Spec) -> TransformerConfig:
    """The config of the language model.

    Raises:
        ValueError: what TransformerConfig refuses, or a kernel that the resolved set lacks.
    """
    # TransformerConfig would check the sizes of layers that are not there, too.
    module, kind = spec.language, spec.language_kind.in_use()
    assert isinstance(kind, Gpt | Hybrid)
    grid, moe = spec.grid_of(module), kind.moe
    _insist_on_kernels(spec)
    return _config(
        COMMON,
        _precision(spec),
        # A grouped product of experts with biases refuses it (transformer/moe/experts.py:204).
        _kernels(spec, fuse_dropout=moe is None or not kind.bias),
        _parallel(grid),
        {"sequence_parallel": spec.splits_sequence(module)},
        _transformer(kind),
        _pick(kind, _LANGUAGE),
        _activation(kind.activation),
        {"normalization": NORMS[kind.norm]},
        _stack(kind),
        _attention(kind.attention, grid),
        NO_EXPERTS if moe is None else _experts(spec, kind, moe, grid),
    )


def encoder_config(spec: Spec, module: Module) -> TransformerConfig:
    """The config of a vision encoder, whose sequence is never split over tp."""
    kind = module.kind
    assert isinstance(kind, VisionEncoder)
    return _config(
        COMMON,
        _precision(spec),
        _kernels(spec),
        NO_EXPERTS,
        _parallel(spec.grid_of(module)),
        _transformer(kind),
        _pick(kind, _ENCODER),
        _activation(kind.activation),
        {"normalization": NORMS[kind.norm]},
    )


def custom_config(spec: Spec, module: Module) -> TransformerConfig:
    """The config of a module of another package, which DDP and gradient finalisation read."""
    _, width = Claims.of(spec, module).outputs
    grid = spec.grid_of(module)
    return _config(
        COMMON,
        _precision(spec),
        # A weight with other gradients, too, would lose them (distributed_data_parallel.py:490).
        _kernels(spec, fuse_gradients=False),
        NO_EXPERTS,
        _parallel(grid),
        {"num_layers": 1, "hidden_size": width},
        _no_attention(grid),
    )


def projector_config(spec: Spec, flow: Flow) -> TransformerConfig:
    """The config of a flow's projector: one layer, as wide as the language model."""
    assert flow.projector is not None
    module = spec.module(flow.projector)
    kind = module.kind
    assert isinstance(kind, LinearProjector)
    grid = spec.grid_of(module)
    return _config(
        COMMON,
        _precision(spec),
        _kernels(spec),
        NO_EXPERTS,
        _parallel(grid),
        {
            "num_layers": 1,
            "hidden_size": spec.language_kind.hidden,
            "add_bias_linear": kind.bias,
            "init_method_std": kind.init_std,
        },
        _no_attention(grid),
        _projector_mlp(spec, flow, kind) if isinstance(kind, MlpProjector) else {},
    )


def _config(*parts: Mapping[str, Any]) -> TransformerConfig:
    fields: Fields = {}
    for part in parts:
        assert not fields.keys() & part.keys(), "each field has one source"
        fields |= part
    return TransformerConfig(**fields)


def _pick(node: Any, names: Mapping[str, str]) -> Fields:
    return {theirs: getattr(node, ours) for theirs, ours in names.items()}


def _precision(spec: Spec) -> Fields:
    precision = spec.train.precision
    dtype = DTYPES[precision]
    return {
        "params_dtype": dtype,
        # Bridges allocate what they receive in it (pipeline_parallel/bridge_communicator.py:418).
        "pipeline_dtype": dtype,
        "bf16": precision is Precision.BF16,
        "fp16": precision is Precision.FP16,
        "enable_autocast": False,
    }


def _insist_on_kernels(spec: Spec) -> None:
    """Refuse what the kernels that `auto` stands for here lack, in the words of the rule."""
    train = attrs.evolve(spec.train, kernels=resolve(spec.train.kernels))
    rule = rule_of("MIMO731")
    assert rule is not None
    for found in check(attrs.evolve(spec, train=train), [rule]):
        raise ValueError(
            f"{found.primary.where}: kernels = {spec.train.kernels} are {train.kernels} kernels "
            f"here, and {found.message} ({found.code})"
        )


def _kernels(spec: Spec, *, fuse_dropout: bool = True, fuse_gradients: bool = True) -> Fields:
    kernels = resolve(spec.train.kernels)
    return {
        "transformer_impl": kernels.value,
        # In apex's product or in ours (`provide_weight_gradients`).
        "gradient_accumulation_fusion": fuse_gradients,
        "bias_dropout_fusion": fuse_dropout and kernels is Kernels.TRANSFORMER_ENGINE,
        # Both are TransformerConfig's defaults, where apex's kernels are not at hand.
        "bias_activation_fusion": False,
        "masked_softmax_fusion": False,
    }


def _parallel(grid: Grid) -> Fields:
    return {
        "tensor_model_parallel_size": grid.size("tp"),
        "context_parallel_size": grid.size("cp"),
        "pipeline_model_parallel_size": grid.size("pp"),
    }


def _transformer(kind: TransformerKind) -> Fields:
    return _pick(kind, _TRANSFORMER) | RECOMPUTE[kind.recompute]


def _activation(activation: Activation) -> Fields:
    return {
        "activation_func": ACTIVATIONS[activation],
        "gated_linear_unit": activation.gated,
    }


def _attention(attention: Attention | None, grid: Grid) -> Fields:
    return _no_attention(grid) if attention is None else _pick(attention, _ATTENTION)


def _no_attention(grid: Grid) -> Fields:
    """Heads for a config that has none: TransformerConfig divides by them, and them by tp."""
    return {"num_attention_heads": grid.size("tp"), "kv_channels": 1}


def _stack(kind: Gpt | Hybrid) -> Fields:
    if isinstance(kind, Gpt):
        return {"num_layers": kind.layers, "moe_layer_freq": kind.moe_every}
    mamba = {} if kind.mamba is None else _pick(kind.mamba, _MAMBA)
    return {"num_layers": len(kind.layers), "is_hybrid_model": True} | mamba


def _experts(spec: Spec, kind: Gpt | Hybrid, moe: Moe, grid: Grid) -> Fields:
    kernels, precision = resolve(spec.train.kernels), spec.train.precision
    etp = grid.size("etp")
    router_dtype = None if moe.router_dtype is RouterPrecision.MODEL else moe.router_dtype.value
    return _pick(moe, _MOE) | {
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


def _projector_mlp(spec: Spec, flow: Flow, kind: MlpProjector) -> Fields:
    norm = {} if kind.norm is None else {"normalization": NORMS[kind.norm]}
    return (
        norm
        | _activation(kind.activation)
        | {
            "ffn_hidden_size": kind.inner_width(spec.encoder(flow).output_width),
            "layernorm_epsilon": kind.norm_eps,
        }
    )
