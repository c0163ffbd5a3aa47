"""Language models: a decoder of like layers (`gpt`) and one of a layer pattern (`hybrid`)."""

from typing import ClassVar, Self, override

from attrs import evolve

from mimodsl.ir.blocks import Attention, Mamba, Moe
from mimodsl.ir.kinds import Activation, Norm, Role, TransformerKind
from mimodsl.ir.node import ABOVE_0, AT_LEAST_1, SHARE, Keyword, knob, node


class Positions(Keyword):
    """How a language model learns where a token stands."""

    NONE = "none"
    ROPE = "rope"
    LEARNED = "learned"


@node
class LanguageModel(TransformerKind):
    """What every language model has."""

    role: ClassVar[Role] = Role.LANGUAGE

    hidden: int = knob(check=AT_LEAST_1, doc="width of the residual stream")
    vocabulary: int = knob(check=AT_LEAST_1, doc="token ids, padding to a round number included")
    ffn: int | None = knob(
        default=None, check=AT_LEAST_1, doc="inner width of a dense MLP; 4 · hidden if unset"
    )
    activation: Activation = knob(
        default=Activation.SQUARED_RELU, doc="nonlinearity of MLPs and experts"
    )
    norm: Norm = knob(default=Norm.RMSNORM, doc="normalisation")
    norm_eps: float = knob(default=1e-5, check=ABOVE_0, doc="added to the variance")
    bias: bool = knob(default=False, doc="biases in linear layers")
    positions: Positions = knob(default=Positions.NONE, doc="position information")
    rope_base: int = knob(default=10_000, check=AT_LEAST_1, doc="base of rotary frequencies")
    rope_fraction: float = knob(
        default=1.0, check=SHARE, doc="share of a head's width that is rotated"
    )
    tie_embeddings: bool = knob(default=False, doc="share the input and output embeddings")
    residual_fp32: bool = knob(default=False, doc="keep the residual stream in fp32")
    sequence_parallel: bool | None = knob(
        default=None, doc="split the sequence over tp outside products; on with tp > 1 if unset"
    )

    @property
    def mlp_width(self) -> int:
        return self.ffn or 4 * self.hidden

    def in_use(self) -> Self:
        """The kind without the blocks of layers that it has not."""
        return self


@node
class Gpt(LanguageModel):
    """A decoder of like layers, dense or with experts."""

    keyword: ClassVar[str] = "gpt"

    layers: int = knob(check=AT_LEAST_1, doc="transformer layers")
    attention: Attention = knob(doc="self-attention of every layer")
    moe: Moe | None = knob(default=None, doc="experts in place of the MLP; dense if unset")
    moe_every: int = knob(default=1, check=AT_LEAST_1, doc="every how many layers has experts")


@node
class Hybrid(LanguageModel):
    """A decoder that follows a pattern over Mamba, attention, MLP and MoE layers."""

    keyword: ClassVar[str] = "hybrid"
    blocks: ClassVar[dict[str, str]] = {"M": "mamba", "*": "attention", "E": "moe"}

    pattern: str = knob(
        doc="a symbol a layer: `M` Mamba, `*` attention, `-` MLP, `E` experts; `|` between stages"
    )
    mamba: Mamba | None = knob(default=None, doc="the Mamba layers")
    attention: Attention | None = knob(default=None, doc="the attention layers")
    moe: Moe | None = knob(default=None, doc="the layers with experts")

    @property
    def layers(self) -> str:
        """The symbols of all layers, stage marks left out."""
        return self.pattern.replace("|", "")

    @override
    def in_use(self) -> Self:
        idle = [block for symbol, block in self.blocks.items() if symbol not in self.pattern]
        return evolve(self, **dict.fromkeys(idle))

    def stages(self, pp: int) -> tuple[str, ...]:
        """The layers of each pipeline stage, given that the pattern divides into `pp` stages."""
        if "|" in self.pattern:
            return tuple(self.pattern.split("|"))
        layers = self.layers
        return tuple(
            layers[stage * len(layers) // pp : (stage + 1) * len(layers) // pp]
            for stage in range(pp)
        )
