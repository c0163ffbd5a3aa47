"""What decoders of every form share: fields of the TransformerConfig, and model arguments."""

from mimodsl.ir.blocks import Attention, Moe
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.grid import Grid
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.language import TransformerLanguage
from mimodsl.ir.megatron_fields import megatron_fields, megatron_value
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.schema import schema
from mimodsl.ir.spec import Spec
from mimodsl.planner.experts import expert_kernels
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, merged


def language_arguments(spec: Spec, kind: TransformerLanguage) -> Fields:
    """Arguments of megatron-core's models besides the config and the layers."""
    return {"max_sequence_length": spec.schedule.sequence} | arguments_of("GPTModel", kind)


def arguments_of(cls: str, node: Node) -> Fields:
    """The arguments of a class of megatron-core that fields of a node state as they are."""
    names = {field.name: field.facts.megatron for field in schema(type(node)) if field.facts}
    return {
        name.removeprefix(f"{cls}."): megatron_value(getattr(node, field))
        for field, name in names.items()
        if isinstance(name, str) and name.startswith(f"{cls}.")
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
        common.RECOMPUTE[kind.recompute],
        megatron_fields(kind),
        {"ffn_hidden_size": kind.mlp_width},
        common.activation(kind.activation),
        stack,
        _attention(kind.attention, grid),
        common.NO_EXPERTS if moe is None else _experts(spec, kind, moe, grid),
    )


def _attention(attention: Attention | None, grid: Grid) -> Fields:
    if attention is None:
        return common.no_attention(grid)
    return megatron_fields(attention) | {"num_query_groups": attention.key_value_groups}


def _experts(spec: Spec, kind: Gpt | Hybrid, moe: Moe, grid: Grid) -> Fields:
    etp = grid.size("etp")
    kernels = expert_kernels(kind, moe, spec.train, etp)
    return megatron_fields(moe) | {
        "expert_model_parallel_size": grid.size("ep"),
        "expert_tensor_parallel_size": etp,
        "moe_grouped_gemm": kernels.grouped,
        "moe_permute_fusion": kernels.fused_permutation,
        "moe_router_fusion": kernels.fused_routing,
        "use_fused_weighted_squared_relu": kernels.weighted_activation,
    }
