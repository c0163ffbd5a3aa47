"""The language model `gpt` in a plan: layers that are all alike."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, override

from attrs import evolve

from mimodsl.ir.axes import PP
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.grid import Grid
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
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Name
from mimodsl.planner.program.values import Part


class GptFamily(LanguageFamily[Gpt]):
    """Layers of attention and an MLP or experts, as many in every stage
    (transformer/transformer_block.py)."""

    kinds: ClassVar = (Gpt,)
    final_norm = "final_layernorm"

    @override
    def layers(self, kind: Gpt, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        attention = attention_layer(kind, plan)
        for layer in stage.layers:
            inner = moe_layer if kind.has_experts(layer) else mlp_layer
            yield attention, inner(kind, plan)

    @override
    def part(self, kind: Gpt, plan: ModulePlan) -> Part:
        return common.part(
            plan,
            Name("mimodsl.builder.families.decoder:gpt_spec"),
            language_config(kind, plan, {}),
            language_arguments(kind, plan),
        )

    @override
    def layer_count(self, kind: Gpt) -> int:
        return kind.layers

    @override
    def stage(self, kind: Gpt, index: int, count: int) -> Stage:
        each = kind.layers // count
        layers = range(index * each, (index + 1) * each)
        return Stage(index=index, count=count, layers=layers, symbols=_symbols(kind, layers))

    @override
    def even_layers(self, kind: Gpt) -> tuple[str, int] | None:
        return "layers", kind.layers

    @override
    def on_stages(self, kind: Gpt, stages: Sequence[int], count: int) -> Gpt:
        return evolve(kind, layers=kind.layers // count * len(stages))

    @override
    def with_small_blocks(self, kind: Gpt, grid: Grid) -> Gpt:
        """A stage has a dense layer and one with experts, where the model has both."""
        pp = grid.size(PP)
        enough = kind.moe_every if kind.moe else 1
        return evolve(
            kind,
            layers=pp * min(kind.layers // pp, max(2, enough)),
            attention=small_attention(kind.attention, grid),
            moe=kind.moe and small_moe(kind.moe, grid),
        )


def _symbols(kind: Gpt, layers: range) -> str:
    """The symbols of some layers, in a few steps: a hostile spec has millions of layers."""
    dense = "*-" * len(layers)
    if kind.moe is None:
        return dense
    before = -layers.start % kind.moe_every
    period = "*E" + dense[: 2 * (kind.moe_every - 1)]
    repeated = period * (2 * len(layers) // len(period) + 1)
    return (dense[: 2 * before] + repeated)[: len(dense)]
