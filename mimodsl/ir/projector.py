"""Projectors: from an encoder's width to the language model's width."""

from typing import ClassVar, Self

from attrs import frozen

from mimodsl.ir.facts import FUNCTION, SHAPES, TRAINING, Derived, Facts
from mimodsl.ir.kinds import Activation, Kind, Norm, Role
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, knob, node
from mimodsl.ir.vision import Encoder


@frozen(kw_only=True)
class Between:
    """The neighbours' sizes for a projector.

    For each input it takes the encoder's `tokens`, each `width` wide, and its output is `hidden`
    wide, like the language model.
    """

    tokens: int
    width: int
    hidden: int

    @classmethod
    def of(cls, encoder: Encoder, language: LanguageModel) -> Self:
        """The sizes between an encoder and a language model."""
        return cls(tokens=encoder.tokens, width=encoder.output_width, hidden=language.hidden)


@node
class Projector(Kind):
    """The base of every projector; its neighbours give its input and output widths."""

    role: ClassVar[Role] = Role.PROJECTOR

    def tokens(self, between: Between) -> int:
        """The number of output tokens for one input; by default the number of input tokens."""
        return between.tokens


@node
class LinearProjector(Projector):
    """The base of projectors with linear layers."""

    bias: bool = knob(
        default=False,
        doc="biases in linear layers",
        facts=Facts(SHAPES, megatron="add_bias_linear", flag=None, hf="multimodal_projector_bias"),
    )
    init_std: float = knob(
        default=0.02,
        check=AT_LEAST_0,
        doc="standard deviation of initial weights",
        facts=Facts(
            TRAINING, megatron="init_method_std", flag=None, hf=None, also="initializer_range"
        ),
    )


@node
class MlpProjector(LinearProjector):
    """A norm and a two-layer MLP."""

    keyword: ClassVar[str] = "mlp_projector"

    ffn: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="inner width; four times the input width if unset",
        facts=Facts(
            SHAPES,
            megatron=Derived("ffn_hidden_size"),
            flag=None,
            hf="projector_hidden_size",
            also="intermediate_size",
        ),
    )
    activation: Activation = knob(
        default=Activation.GELU,
        doc="nonlinearity",
        facts=Facts(
            SHAPES,
            megatron=Derived("activation_func", "gated_linear_unit"),
            flag=None,
            hf="projector_hidden_act",
            also="hidden_act activation_function",
        ),
    )
    norm: Norm | None = knob(
        default=Norm.RMSNORM,
        doc="normalisation of the input",
        facts=Facts(SHAPES, megatron=Derived("normalization"), flag=None, hf=None),
    )
    norm_eps: float = knob(
        default=1e-5,
        check=ABOVE_0,
        doc="added to the variance",
        facts=Facts(
            FUNCTION,
            megatron="layernorm_epsilon",
            flag=None,
            hf=None,
            also="layer_norm_eps rms_norm_eps",
        ),
    )

    def inner_width(self, width: int) -> int:
        """Inner width of the MLP for inputs `width` wide."""
        return self.ffn or 4 * width


@node
class AffineProjector(LinearProjector):
    """One linear layer."""

    keyword: ClassVar[str] = "affine_projector"
