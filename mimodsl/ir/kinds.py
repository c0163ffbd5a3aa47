"""What all kinds of modules have in common."""

from enum import Enum
from typing import ClassVar, Self

from mimodsl.ir.blocks import Blocks
from mimodsl.ir.facts import LAYOUT, TRAINING, Derived, Facts
from mimodsl.ir.node import AT_LEAST_0, FRACTION, Keyword, Node, knob, node


class Role(Enum):
    """The part that a module plays in the model."""

    ENCODER = "encoder"
    PROJECTOR = "projector"
    LANGUAGE = "language model"


class Activation(Keyword):
    """The nonlinearity of an MLP; `swiglu` and `geglu` are gated."""

    GELU = "gelu"
    FAST_GELU = "fast_gelu"
    QUICK_GELU = "quick_gelu"
    SILU = "silu"
    RELU = "relu"
    SQUARED_RELU = "squared_relu"
    SWIGLU = "swiglu"
    GEGLU = "geglu"

    @property
    def gated(self) -> bool:
        return self in (Activation.SWIGLU, Activation.GEGLU)


class Norm(Keyword):
    """The normalisation before each sub-layer."""

    LAYERNORM = "layernorm"
    RMSNORM = "rmsnorm"

    @property
    def megatron(self) -> str:
        return {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}[self.value]


class Recompute(Keyword):
    """Which activations are recomputed in the backward pass instead of kept."""

    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"


@node
class Kind(Node):
    """The base of every kind; its fields are the schema of a module of that kind."""

    keyword: ClassVar[str]
    role: ClassVar[Role]

    @property
    def used(self) -> Blocks:
        """The blocks that describe at least one layer."""
        return Blocks()

    def in_use(self) -> Self:
        """The kind without the blocks that describe no layer."""
        return self

    def splits_sequence(self, tp: int) -> bool:  # noqa: ARG002 - language models use it
        """Whether each of `tp` tensor-parallel ranks holds only its part of the sequence between
        products.

        Encoders and projectors do not: bridges send their output as one replicated tensor
        (pipeline_parallel/bridge_communicator.py).
        """
        return False


@node
class TransformerKind(Kind):
    """The knobs of a kind that is made of transformer layers."""

    init_std: float = knob(
        default=0.02,
        check=AT_LEAST_0,
        doc="standard deviation of initial weights",
        facts=Facts(TRAINING, megatron="init_method_std", hf="initializer_range"),
    )
    dropout: float = knob(
        default=0.0,
        check=FRACTION,
        doc="dropout on hidden states",
        facts=Facts(
            TRAINING, megatron="hidden_dropout", hf="hidden_dropout hidden_dropout_prob resid_pdrop"
        ),
    )
    attention_dropout: float = knob(
        default=0.0,
        check=FRACTION,
        doc="dropout on attention probabilities",
        facts=Facts(
            TRAINING,
            megatron="attention_dropout",
            hf="attention_dropout attention_probs_dropout_prob attn_pdrop",
        ),
    )
    recompute: Recompute = knob(
        default=Recompute.NONE,
        doc="activations computed again in the backward pass",
        facts=Facts(
            LAYOUT,
            megatron=Derived("recompute_granularity", "recompute_method", "recompute_num_layers"),
            flag=Derived("recompute-granularity", "recompute-method", "recompute-num-layers"),
            hf=None,
        ),
    )
