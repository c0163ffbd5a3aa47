"""The language model `hybrid` in a plan: layers by the symbols of a pattern."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, override

from attrs import evolve

from mimodsl.ir.axes import CP, PP, TP
from mimodsl.ir.blocks import Mamba
from mimodsl.ir.grid import Grid
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.train import Kernels
from mimodsl.planner.families.family import Block, Stage
from mimodsl.planner.families.language import (
    LanguageFamily,
    attention_layer,
    language_arguments,
    language_config,
    mlp_layer,
    moe_layer,
    small_attention,
    small_moe,
)
from mimodsl.planner.families.small import HEAD
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, Name
from mimodsl.planner.program.values import Part

if TYPE_CHECKING:
    from mimodsl.planner.layers import Layer

SYMBOLS: Final = frozenset("M*-E|")
"""What a pattern is written in: Mamba, attention, an MLP, experts, and a mark between stages."""

_STACKS: Final = {
    Kernels.LOCAL: Name("mimodsl.megatron.local_layers:LocalHybridStack"),
    Kernels.TRANSFORMER_ENGINE: Name("megatron.core.models.hybrid.hybrid_block:HybridStack"),
}


class HybridFamily(LanguageFamily[Hybrid]):
    """A layer for each symbol, in stages as the pattern marks them, or else with as many layers
    each (models/hybrid/hybrid_layer_allocation.py, "def select_pipeline_segment")."""

    kinds: ClassVar = (Hybrid,)
    final_norm = "final_norm"

    @override
    def layers(self, kind: Hybrid, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        for symbol in stage.symbols:
            yield (_layer(kind, plan, symbol),)

    @override
    def part(self, kind: Hybrid, plan: ModulePlan) -> Part:
        mamba = {} if kind.mamba is None else megatron_fields(kind.mamba)
        stack = {"num_layers": len(kind.layers), "is_hybrid_model": True} | mamba
        arguments: Fields = {"pattern": kind.pattern, "stack": _STACKS[plan.kernels]}
        return common.part(
            plan,
            Name("mimodsl.builder.families.hybrid:hybrid_spec"),
            language_config(kind, plan, stack),
            language_arguments(kind, plan) | arguments,
        )

    @override
    def layer_count(self, kind: Hybrid) -> int:
        return len(kind.layers)

    @override
    def stage(self, kind: Hybrid, index: int, count: int) -> Stage:
        parts = kind.stages(count)
        first, symbols = sum(map(len, parts[:index])), parts[index]
        layers = range(first, first + len(symbols))
        return Stage(index=index, count=count, layers=layers, pattern=symbols, symbols=symbols)

    @override
    def even_layers(self, kind: Hybrid) -> tuple[str, int] | None:
        is_known = bool(kind.layers) and set(kind.pattern) <= SYMBOLS
        return None if "|" in kind.pattern or not is_known else ("pattern", len(kind.layers))

    @override
    def on_stages(self, kind: Hybrid, stages: Sequence[int], count: int) -> Hybrid:
        parts = kind.stages(count)
        return evolve(kind, pattern="|".join(parts[stage] for stage in stages))

    @override
    def with_small_blocks(self, kind: Hybrid, grid: Grid) -> Hybrid:
        stages = kind.stages(grid.size(PP))
        return evolve(
            kind,
            attention=kind.attention and small_attention(kind.attention, grid),
            moe=kind.moe and small_moe(kind.moe, grid),
            mamba=kind.mamba and _small_mamba(kind.mamba, kind.hidden, grid),
            pattern="|".join(map(shortest_with_every_symbol, stages)),
        )

    @override
    def on_one_rank(self, kind: Hybrid) -> Hybrid:
        return evolve(super().on_one_rank(kind), pattern=kind.layers)


def shortest_with_every_symbol(pattern: str) -> str:
    """The first of the shortest runs of layers that has every symbol of the pattern.

    Neighbours in it are neighbours in the pattern.
    """
    symbols = set(pattern)
    for length in range(len(symbols), len(pattern)):
        for start in range(len(pattern) - length + 1):
            run = pattern[start : start + length]
            if set(run) == symbols:
                return run
    return pattern


def _small_mamba(mamba: Mamba, hidden: int, grid: Grid) -> Mamba:
    """Groups and heads that divide over tp and cp as before (ssm/mamba_context_parallel.py,
    "self.nheads_local_tp % self.cp_size == 0")."""
    tp, cp = grid.size(TP), grid.size(CP)
    heads = mamba.head_count(hidden)
    a_rank = mamba.groups // tp
    groups = tp * (cp if a_rank % cp == 0 else a_rank)
    most = heads // mamba.groups
    ratios = (ratio for ratio in range(min(2, most), most + 1) if groups // tp * ratio % cp == 0)
    return evolve(
        mamba,
        heads=groups * next(ratios, most),
        head_dim=min(mamba.head_dim, HEAD),
        state=min(mamba.state, HEAD),
        groups=groups,
    )


def _layer(kind: Hybrid, plan: ModulePlan, symbol: str) -> "Layer":
    match symbol:
        case "M":
            return _mamba(kind, plan)
        case "*":
            return attention_layer(kind, plan)
        case "E":
            return moe_layer(kind, plan)
        case _:
            return mlp_layer(kind, plan)


def _mamba(kind: Hybrid, plan: ModulePlan) -> "Layer":
    from mimodsl.planner.layers import MambaLayer

    block, heads = kind.mamba, plan.widths.mamba_heads
    assert block is not None
    assert heads is not None
    return MambaLayer(
        hidden=kind.hidden,
        heads=heads,
        head_dim=block.head_dim,
        state=block.state,
        groups=block.groups,
        norm=kind.norm,
    )
