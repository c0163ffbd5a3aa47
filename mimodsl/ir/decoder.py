"""The language model `gpt`: a decoder with equal layers."""

from typing import ClassVar, override

from mimodsl.ir.blocks import Attention, Blocks, Moe
from mimodsl.ir.facts import SHAPES, Facts, Needs, unnamed
from mimodsl.ir.language import TransformerLanguage
from mimodsl.ir.node import AT_LEAST_1, knob, node


@node
class Gpt(TransformerLanguage):
    """A decoder with equal layers, dense or with experts."""

    keyword: ClassVar[str] = "gpt"

    layers: int = knob(
        check=AT_LEAST_1,
        doc="transformer layers",
        facts=Facts(SHAPES, megatron="num_layers", hf="num_hidden_layers n_layer num_layers"),
    )
    attention: Attention = knob(
        doc="self-attention of every layer",
        facts=unnamed(SHAPES),
    )
    moe: Moe | None = knob(
        default=None,
        doc="experts in place of the MLP; dense if unset",
        facts=unnamed(SHAPES),
    )
    moe_every: int = knob(
        default=1,
        check=AT_LEAST_1,
        doc="every how many layers has experts",
        facts=Facts(
            SHAPES,
            megatron="moe_layer_freq",
            hf="decoder_sparse_step moe_layer_freq",
            needs=Needs("experts", lambda kind: kind.used.moe is not None),
        ),
    )

    @property
    @override
    def used(self) -> Blocks:
        return Blocks(attention=self.attention, moe=self.moe)

    @property
    @override
    def has_dense_mlp(self) -> bool:
        return self.moe is None or self.moe_every > 1

    def has_experts(self, layer: int) -> bool:
        """Whether a layer, by its index in the whole model, has experts."""
        return self.moe is not None and layer % self.moe_every == 0
