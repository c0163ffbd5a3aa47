"""The language model `hybrid`: a decoder whose layers follow a pattern."""

from typing import ClassVar, Self, override

from attrs import evolve

from mimodsl.ir.blocks import Attention, Blocks, Mamba, Moe
from mimodsl.ir.facts import SHAPES, Facts, unnamed
from mimodsl.ir.language import TransformerLanguage
from mimodsl.ir.node import knob, node


@node
class Hybrid(TransformerLanguage):
    """A decoder that follows a pattern over Mamba, attention, MLP and MoE layers."""

    keyword: ClassVar[str] = "hybrid"
    blocks: ClassVar[dict[str, str]] = {"M": "mamba", "*": "attention", "E": "moe"}

    pattern: str = knob(
        doc="a symbol a layer: `M` Mamba, `*` attention, `-` MLP, `E` experts; `|` between stages",
        facts=Facts(
            SHAPES, megatron="HybridModel.hybrid_layer_pattern", hf="hybrid_override_pattern"
        ),
    )
    mamba: Mamba | None = knob(
        default=None,
        doc="the Mamba layers",
        facts=unnamed(SHAPES),
    )
    attention: Attention | None = knob(
        default=None,
        doc="the attention layers",
        facts=unnamed(SHAPES),
    )
    moe: Moe | None = knob(
        default=None,
        doc="the layers with experts",
        facts=unnamed(SHAPES),
    )

    @property
    def layers(self) -> str:
        """The symbols of all layers, without stage marks."""
        return self.pattern.replace("|", "")

    @property
    @override
    def used(self) -> Blocks:
        used = {
            block: getattr(self, block)
            for symbol, block in self.blocks.items()
            if symbol in self.pattern
        }
        return Blocks(**used)

    @property
    @override
    def has_dense_mlp(self) -> bool:
        return "-" in self.pattern

    @override
    def in_use(self) -> Self:
        idle = [block for symbol, block in self.blocks.items() if symbol not in self.pattern]
        return evolve(self, **dict.fromkeys(idle))

    def stages(self, pp: int) -> tuple[str, ...]:
        """The layers of each pipeline stage; the pattern must divide into `pp` stages."""
        if "|" in self.pattern:
            return tuple(self.pattern.split("|"))
        layers = self.layers
        return tuple(
            layers[stage * len(layers) // pp : (stage + 1) * len(layers) // pp]
            for stage in range(pp)
        )
