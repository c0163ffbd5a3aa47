"""What the families of Megatron-Core's language models have in common."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import count
from math import lcm
from typing import TYPE_CHECKING, Final, override

from attrs import evolve

from mimodsl.ir.axes import EP, ETP, TP
from mimodsl.ir.blocks import Attention, Balance, Dispatcher, Moe
from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Recompute
from mimodsl.ir.language import Positions, TransformerLanguage
from mimodsl.ir.megatron_fields import megatron_fields, megatron_value
from mimodsl.ir.schema import schema
from mimodsl.planner.families.family import (
    Block,
    Family,
    Neighbours,
    Room,
    SharedWidth,
    Split,
    Stage,
)
from mimodsl.planner.families.small import HEAD, HIDDEN, MOST_LAYERS, WIDEST, few_heads, narrower
from mimodsl.planner.module import ModulePlan, Widths
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, merged

if TYPE_CHECKING:
    from mimodsl.planner.layers import Layer

VOCABULARY: Final = 256
"""Token ids of a small language model."""

_MOST_EXPERTS: Final = 32
_MOST_WORDS: Final = 4096


class LanguageFamily[K: TransformerLanguage](Family[K]):
    """An embedding, layers over a residual stream, and logits. A family says which layers."""

    final_norm: str
    """Megatron-Core's name of the norm before the logits."""

    @abstractmethod
    def layers(self, kind: K, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        """The layers of a stage between embedding and output."""

    @override
    def widths(self, kind: K, near: Neighbours) -> Widths:
        attention, mamba, hidden = kind.used.attention, kind.used.mamba, kind.hidden
        return Widths(
            hidden=hidden,
            ffn=kind.mlp_width if kind.has_dense_mlp else None,
            heads=attention.heads if attention else None,
            kv_groups=attention.key_value_groups if attention else None,
            head_width=attention.width(hidden) if attention else None,
            mamba_heads=mamba.head_count(hidden) if mamba else None,
        )

    @override
    def blocks(self, kind: K, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        from mimodsl.planner.layers import OutputLayer, TokenEmbedding

        learned = kind.positions is Positions.LEARNED
        if stage.first:
            embedding = TokenEmbedding(
                hidden=kind.hidden,
                vocabulary=kind.vocabulary,
                positions=plan.length if learned else 0,
                copied=kind.tie_embeddings and not stage.last,
            )
            yield (embedding,)
        yield from self.layers(kind, plan, stage)
        if stage.last:
            output = OutputLayer(
                hidden=kind.hidden,
                vocabulary=kind.vocabulary,
                norm=kind.norm,
                norm_name=self.final_norm,
                tied=kind.tie_embeddings,
                copied=kind.tie_embeddings and not stage.first,
            )
            yield (output,)

    @abstractmethod
    def layer_count(self, kind: K) -> int:
        """Layers of the whole model."""

    @abstractmethod
    def with_small_blocks(self, kind: K, grid: Grid) -> K:
        """The kind with small blocks and with few layers in each stage, among them every sort of
        layer that the stage has."""

    @override
    def splits(self, kind: K, near: Neighbours) -> Iterator[Split]:
        attention, mamba, moe = kind.used.attention, kind.used.mamba, kind.used.moe
        yield Split(kind, "vocabulary", "vocabulary", kind.vocabulary, free=True)
        if attention is not None:
            yield Split(attention, "heads", "heads", attention.heads)
        if kind.has_dense_mlp:
            yield Split(kind, "ffn", "ffn", kind.mlp_width, free=True)
        if mamba is not None:
            if mamba.fits(kind.hidden):
                yield Split(mamba, "heads", "Mamba heads", mamba.head_count(kind.hidden))
            yield Split(mamba, "groups", "Mamba groups", mamba.groups)
        if moe is not None and moe.shared_ffn is not None:
            yield Split(moe, "shared_ffn", "shared_ffn", moe.shared_ffn, free=True)

    @override
    def shared_width(self, kind: K) -> SharedWidth | None:
        attention = kind.used.attention
        if attention is None or attention.head_dim is not None:
            return None
        return SharedWidth(node=attention, width=kind.hidden, heads=attention.heads)

    @override
    def key_value_groups(self, kind: K) -> int | None:
        attention = kind.used.attention
        return attention.key_value_groups if attention else None

    @override
    def recompute(self, kind: K) -> Recompute:
        return kind.recompute

    @override
    def fully_recomputed(self, kind: K) -> K:
        return evolve(kind, recompute=Recompute.FULL)

    @override
    def dropout(self, kind: K) -> float:
        return kind.dropout

    @override
    def residual_fp32(self, kind: K) -> bool:
        return kind.residual_fp32

    @override
    def ties_embeddings(self, kind: K) -> bool:
        return kind.tie_embeddings

    @override
    def small(self, kind: K, room: Room) -> K:
        """Few layers in each stage, among them every sort of layer that the stage has."""
        grid, emitted = room.grid, room.emitted
        if emitted is None and self._is_small(kind):
            return kind
        small = self.with_small_blocks(kind, grid)
        tp = unit = grid.size(TP)
        attention = small.used.attention
        if attention is not None and attention.head_dim is None:
            unit = lcm(tp, attention.heads * 2)
        width = emitted or min(kind.hidden, unit * -(-HIDDEN // unit))
        return evolve(
            small,
            hidden=width,
            vocabulary=narrower(kind.vocabulary, VOCABULARY, tp),
            ffn=kind.ffn and narrower(kind.ffn, 2 * width, tp),
        )

    def _is_small(self, kind: K) -> bool:
        return (
            max(kind.hidden, kind.mlp_width // 4) <= WIDEST
            and self.layer_count(kind) <= MOST_LAYERS
            and kind.vocabulary <= _MOST_WORDS
            and (kind.used.moe.experts if kind.used.moe else 0) <= _MOST_EXPERTS
        )

    @override
    def on_one_rank(self, kind: K) -> K:
        return evolve(kind, sequence_parallel=None)

    @override
    def comparable(self, kind: K) -> K:
        """Auxiliary losses and capacities are over a rank's own tokens, dropout draws a rank's own
        numbers."""
        kind = evolve(kind, dropout=0.0, attention_dropout=0.0)
        moe = kind.used.moe
        return evolve(kind, moe=_comparable_moe(moe)) if moe else kind


def small_attention(attention: Attention, grid: Grid) -> Attention:
    """As many query heads a group as before, up to two, and groups as they divide over tp."""
    tp = grid.size(TP)
    groups = attention.key_value_groups
    few = few_heads(groups, tp) if groups % tp == 0 else groups
    heads = lcm(few * min(attention.heads // groups, 2), tp)
    return evolve(
        attention,
        heads=heads,
        kv_groups=None if attention.kv_groups is None else few,
        head_dim=attention.head_dim and min(attention.head_dim, HEAD),
    )


def small_moe(moe: Moe, grid: Grid) -> Moe:
    """Two experts or more on every ep rank, and a top-k that leaves some out."""
    ep, etp = grid.size(EP), grid.size(ETP)
    topk = moe.topk if moe.groups else min(moe.topk, 2)
    unit = lcm(ep, moe.groups or 1)
    fits = (number for number in count(unit, unit) if number > topk and number >= 2 * ep)
    return evolve(
        moe,
        experts=min(moe.experts, next(fits)),
        topk=topk,
        ffn=narrower(moe.ffn, HIDDEN // 2, etp),
        shared_ffn=moe.shared_ffn and narrower(moe.shared_ffn, HIDDEN, grid.size(TP)),
    )


def _comparable_moe(moe: Moe) -> Moe:
    is_sinkhorn = moe.balance is Balance.SINKHORN
    return evolve(
        moe,
        balance=Balance.NONE if is_sinkhorn else moe.balance,
        aux_loss=0.0,
        z_loss=None,
        capacity_factor=None,
        pad_to_capacity=False,
        permute_fusion=None if moe.permute_fusion else moe.permute_fusion,
        grouped_gemm=None if moe.grouped_gemm else moe.grouped_gemm,
        dispatcher=Dispatcher.ALLTOALL if moe.dispatcher is Dispatcher.FLEX else moe.dispatcher,
    )


def attention_layer(kind: TransformerLanguage, plan: ModulePlan) -> "Layer":
    """One layer of self-attention."""
    from mimodsl.planner.layers import AttentionLayer

    block, width = kind.used.attention, plan.widths.head_width
    assert block is not None
    assert width is not None
    return AttentionLayer(
        hidden=kind.hidden,
        heads=block.heads,
        kv_groups=block.key_value_groups,
        head_dim=width,
        norm=kind.norm,
        bias=kind.bias,
        qkv_bias=block.qkv_bias,
        qk_norm=block.qk_norm,
        rotated=int(width * kind.rope_fraction) if kind.positions is Positions.ROPE else 0,
    )


def mlp_layer(kind: TransformerLanguage, plan: ModulePlan) -> "Layer":
    """One dense MLP."""
    from mimodsl.planner.layers import MlpLayer

    assert plan.widths.ffn is not None
    return MlpLayer(
        hidden=kind.hidden,
        ffn=plan.widths.ffn,
        activation=kind.activation,
        norm=kind.norm,
        bias=kind.bias,
    )


def moe_layer(kind: TransformerLanguage, plan: ModulePlan) -> "Layer":
    """One layer of experts."""
    from mimodsl.planner.layers import MoeLayer

    assert plan.moe is not None
    assert plan.experts is not None
    return MoeLayer(
        hidden=kind.hidden,
        moe=plan.moe,
        kernels=plan.experts,
        activation=kind.activation,
        norm=kind.norm,
        bias=kind.bias,
    )


def language_arguments(kind: TransformerLanguage, plan: ModulePlan) -> Fields:
    """The arguments of megatron-core's models besides the config and the layers: the length of a
    sequence, and the fields that their facts call arguments of `GPTModel`."""
    names = {field.name: field.facts.megatron for field in schema(type(kind)) if field.facts}
    return {"max_sequence_length": plan.length} | {
        name.removeprefix("GPTModel."): megatron_value(getattr(kind, field))
        for field, name in names.items()
        if isinstance(name, str) and name.startswith("GPTModel.")
    }


def language_config(kind: TransformerLanguage, plan: ModulePlan, stack: Fields) -> Fields:
    """The fields of a language model's config. `stack` describes its layers.

    `kind` has only blocks that layers use: TransformerConfig would check the sizes of others, too.
    """
    return merged(
        common.COMMON,
        common.precision(plan),
        # A grouped product of experts with biases refuses it (transformer/moe/experts.py,
        # "self.config.add_bias_linear and").
        common.kernels(plan, fuse_dropout=plan.moe is None or not kind.bias),
        common.parallel(plan.declared),
        {"sequence_parallel": plan.split_sequence},
        common.RECOMPUTE[plan.recompute],
        megatron_fields(kind),
        {"ffn_hidden_size": kind.mlp_width},
        common.activation(kind.activation),
        stack,
        _attention_fields(kind, plan),
        _expert_fields(plan),
    )


def _attention_fields(kind: TransformerLanguage, plan: ModulePlan) -> Fields:
    attention = kind.used.attention
    if attention is None:
        return common.no_attention(plan.declared)
    return megatron_fields(attention) | {"num_query_groups": plan.widths.kv_groups}


def _expert_fields(plan: ModulePlan) -> Fields:
    moe, kernels = plan.moe, plan.experts
    if moe is None or kernels is None:
        return common.NO_EXPERTS
    return megatron_fields(moe) | {
        "expert_model_parallel_size": plan.declared.size(EP),
        "expert_tensor_parallel_size": plan.declared.size(ETP),
        "moe_grouped_gemm": kernels.grouped,
        "moe_permute_fusion": kernels.fused_permutation,
        "moe_router_fusion": kernels.fused_routing,
        "use_fused_weighted_squared_relu": kernels.weighted_activation,
    }
