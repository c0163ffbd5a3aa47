"""Language models: what all of them have, and what those of Megatron-Core have."""

from typing import ClassVar, Self, override

from mimodsl.ir.blocks import Blocks
from mimodsl.ir.kinds import Activation, Kind, Norm, Role, TransformerKind
from mimodsl.ir.node import ABOVE_0, AT_LEAST_1, SHARE, Keyword, knob, node


class Positions(Keyword):
    """How a language model learns where a token stands."""

    NONE = "none"
    ROPE = "rope"
    LEARNED = "learned"


class LanguageModel(Kind):
    """What every language model has: from embeddings `hidden` wide to logits over a `vocabulary`.

    Each class says itself which fields these two are.
    """

    __slots__ = ()

    role: ClassVar[Role] = Role.LANGUAGE

    hidden: int
    vocabulary: int

    @property
    def used(self) -> Blocks:
        """The blocks that describe some layer."""
        return Blocks()

    def in_use(self) -> Self:
        """The kind without blocks that describe no layer of the model."""
        return self

    @property
    def learns_positions(self) -> bool:
        """Whether learned positions are added to the embeddings of words."""
        return False


@node
class TransformerLanguage(LanguageModel, TransformerKind):
    """What every language model has that Megatron-Core builds."""

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

    @property
    @override
    def learns_positions(self) -> bool:
        return self.positions is Positions.LEARNED

    @property
    def has_dense_mlp(self) -> bool:
        """Whether some layer has an MLP of the model's own `ffn`."""
        raise NotImplementedError

    @override
    def splits_sequence(self, tp: int) -> bool:
        return tp > 1 if self.sequence_parallel is None else self.sequence_parallel
