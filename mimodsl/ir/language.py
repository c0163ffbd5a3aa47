"""Language models: their common fields, and those of the models that Megatron-Core builds."""

from typing import ClassVar, Final, override

from mimodsl.ir.facts import FUNCTION, LAYOUT, SHAPES, Derived, Facts, Needs, needs_value
from mimodsl.ir.kinds import Activation, Kind, Norm, Role, TransformerKind
from mimodsl.ir.node import ABOVE_0, AT_LEAST_1, SHARE, Keyword, knob, node


class Positions(Keyword):
    """How a language model represents the position of a token."""

    NONE = "none"
    ROPE = "rope"
    LEARNED = "learned"

    @property
    def megatron(self) -> str:
        return "learned_absolute" if self is Positions.LEARNED else self.value


_ATTENTION_FOR_ROPE: Final = Needs(
    "attention layers",
    lambda kind: kind.positions is not Positions.ROPE or kind.used.attention is not None,
)


class LanguageModel(Kind):
    """The base of every language model: maps embeddings `hidden` wide to logits over `vocabulary`.

    Each class defines these two as its own fields.
    """

    __slots__ = ()

    role: ClassVar[Role] = Role.LANGUAGE

    hidden: int
    vocabulary: int

    @property
    def learns_positions(self) -> bool:
        """Whether learned position embeddings are added to the word embeddings."""
        return False


@node
class TransformerLanguage(LanguageModel, TransformerKind):
    """The base of every language model that Megatron-Core builds."""

    hidden: int = knob(
        check=AT_LEAST_1,
        doc="width of the residual stream",
        facts=Facts(SHAPES, megatron="hidden_size", hf="hidden_size n_embd d_model"),
    )
    vocabulary: int = knob(
        check=AT_LEAST_1,
        doc="token ids, padding to a round number included",
        facts=Facts(
            SHAPES, megatron="GPTModel.vocab_size", hf="vocab_size", also="padded_vocab_size"
        ),
    )
    ffn: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="inner width of a dense MLP; 4 · hidden if unset",
        facts=Facts(
            SHAPES,
            megatron=Derived("ffn_hidden_size"),
            flag=Derived("ffn-hidden-size"),
            hf="intermediate_size n_inner",
            needs=Needs("a layer with a dense MLP", lambda kind: kind.has_dense_mlp),
        ),
    )
    activation: Activation = knob(
        default=Activation.SQUARED_RELU,
        doc="nonlinearity of MLPs and experts",
        facts=Facts(
            SHAPES,
            megatron=Derived("activation_func", "gated_linear_unit"),
            flag=Derived("squared-relu", "swiglu", "quick-geglu"),
            hf="hidden_act mlp_hidden_act activation_function",
        ),
    )
    norm: Norm = knob(
        default=Norm.RMSNORM,
        doc="normalisation",
        facts=Facts(SHAPES, megatron="normalization", hf=None),
    )
    norm_eps: float = knob(
        default=1e-5,
        check=ABOVE_0,
        doc="added to the variance",
        facts=Facts(
            FUNCTION,
            megatron="layernorm_epsilon",
            flag="norm-epsilon",
            hf="rms_norm_eps layer_norm_epsilon layer_norm_eps norm_eps",
        ),
    )
    bias: bool = knob(
        default=False,
        doc="biases in linear layers",
        facts=Facts(
            SHAPES,
            megatron="add_bias_linear",
            flag=Derived("disable-bias-linear"),
            hf="mlp_bias use_bias",
        ),
    )
    positions: Positions = knob(
        default=Positions.NONE,
        doc="position information",
        facts=Facts(
            SHAPES,
            megatron="GPTModel.position_embedding_type",
            hf="position_embedding_type",
            needs=_ATTENTION_FOR_ROPE,
        ),
    )
    rope_base: int = knob(
        default=10_000,
        check=AT_LEAST_1,
        doc="base of rotary frequencies",
        facts=Facts(
            FUNCTION,
            megatron="GPTModel.rotary_base",
            hf="rope_theta",
            needs=needs_value("positions", Positions.ROPE),
        ),
    )
    rope_fraction: float = knob(
        default=1.0,
        check=SHARE,
        doc="share of a head's width that is rotated",
        facts=Facts(
            FUNCTION,
            megatron="GPTModel.rotary_percent",
            hf="partial_rotary_factor rotary_pct",
            needs=needs_value("positions", Positions.ROPE),
        ),
    )
    tie_embeddings: bool = knob(
        default=False,
        doc="share the input and output embeddings",
        facts=Facts(
            SHAPES,
            megatron="GPTModel.share_embeddings_and_output_weights",
            flag=Derived("untie-embeddings-and-output-weights"),
            hf="tie_word_embeddings",
        ),
    )
    residual_fp32: bool = knob(
        default=False,
        doc="keep the residual stream in fp32",
        facts=Facts(FUNCTION, megatron="fp32_residual_connection", hf="residual_in_fp32"),
    )
    sequence_parallel: bool | None = knob(
        default=None,
        doc="split the sequence over tp outside products; on with tp > 1 if unset",
        facts=Facts(
            LAYOUT,
            megatron=Derived("sequence_parallel"),
            flag=Derived("sequence-parallel"),
            hf=None,
        ),
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
        """Whether a layer has a dense MLP of width `ffn`."""
        raise NotImplementedError

    @override
    def splits_sequence(self, tp: int) -> bool:
        return tp > 1 if self.sequence_parallel is None else self.sequence_parallel
