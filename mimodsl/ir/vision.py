"""Encoders: the base of all encoders, and the vision transformers RADIO and plain ViT."""

from math import isqrt
from typing import ClassVar, Self, override

from attrs import evolve

from mimodsl.ir.blocks import head_width
from mimodsl.ir.facts import FUNCTION, SHAPES, Derived, Facts, unnamed
from mimodsl.ir.kinds import Activation, Kind, Norm, Role, TransformerKind
from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, knob, node
from mimodsl.ir.types import Size


@node
class Encoder(Kind):
    """The base of every encoder: maps inputs of one shape to tokens of one width."""

    role: ClassVar[Role] = Role.ENCODER

    @property
    def tokens(self) -> int:
        """The number of tokens for one input."""
        raise NotImplementedError

    @property
    def output_width(self) -> int:
        """The width of each output token."""
        raise NotImplementedError

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input; for an image `(3, height, width)`."""
        raise NotImplementedError

    @property
    def width_source(self) -> tuple[str, str] | None:
        """The field that determines `output_width`, and the formula; `None` if unknown."""
        return None

    def square_side(self, tokens: int) -> int | None:  # noqa: ARG002 - kinds with images use it
        """The side, in pixels, of the largest square image with at most this many tokens.

        `None` if images are not square, or if tokens are not parts of an image.
        """
        return None


@node
class VisionEncoder(Encoder, TransformerKind):
    """The base of every vision transformer."""

    splits_patches: ClassVar[bool] = False
    """Whether tp ranks split the patch embedding, and so the residual stream's width."""

    layers: int = knob(
        check=AT_LEAST_1,
        doc="transformer layers",
        facts=Facts(
            SHAPES, megatron="num_layers", flag=None, hf="num_hidden_layers depth", also="n_layer"
        ),
    )
    hidden: int = knob(
        check=AT_LEAST_1,
        doc="width of the residual stream",
        facts=Facts(
            SHAPES,
            megatron="hidden_size",
            flag=None,
            hf="hidden_size embed_dim",
            also="d_model n_embd",
        ),
    )
    heads: int = knob(
        check=AT_LEAST_1,
        doc="attention heads",
        facts=Facts(
            SHAPES,
            megatron="num_attention_heads",
            flag=None,
            hf="num_attention_heads num_heads",
            also="n_head",
        ),
    )
    ffn: int = knob(
        check=AT_LEAST_1,
        doc="inner width of the MLP",
        facts=Facts(SHAPES, megatron="ffn_hidden_size", flag=None, hf="intermediate_size"),
    )
    patch: int = knob(
        default=16,
        check=AT_LEAST_1,
        unit="pixels",
        doc="side of a square patch",
        facts=Facts(SHAPES, megatron=None, flag=None, hf="patch_size", also="patch_dim"),
    )
    image: Size = knob(
        default=Size(height=512, width=512),
        unit="pixels",
        doc="height and width of every image",
        facts=Facts(SHAPES, megatron=None, flag=None, hf="image_size", also="img_size"),
    )
    class_tokens: int = knob(
        check=AT_LEAST_0,
        default=1,
        doc="learned tokens before the patches",
        facts=unnamed(SHAPES),
    )
    drop_class_tokens: bool = knob(
        default=True,
        doc="emit patches alone",
        facts=Facts(FUNCTION, megatron=None, flag="disable-vision-class-token", hf=None),
    )
    pixel_shuffle: bool = knob(
        default=False,
        doc="fold 2 by 2 patches into one token of four times the width",
        facts=Facts(FUNCTION, megatron=None, flag="pixel-shuffle", hf=None),
    )
    activation: Activation = knob(
        default=Activation.GELU,
        doc="nonlinearity of the MLP",
        facts=Facts(
            SHAPES,
            megatron=Derived("activation_func", "gated_linear_unit"),
            flag=None,
            hf="hidden_act",
            also="activation_function",
        ),
    )
    norm: Norm = knob(
        default=Norm.LAYERNORM,
        doc="normalisation",
        facts=Facts(SHAPES, megatron="normalization", flag=None, hf=None),
    )
    norm_eps: float = knob(
        default=1e-6,
        check=ABOVE_0,
        doc="added to the variance",
        facts=Facts(
            FUNCTION, megatron="layernorm_epsilon", flag=None, hf="layer_norm_eps rms_norm_eps"
        ),
    )
    bias: bool = knob(
        default=True,
        doc="biases in linear layers",
        facts=Facts(SHAPES, megatron="add_bias_linear", flag=None, hf=None),
    )
    qkv_bias: bool = knob(
        default=True,
        doc="a bias on queries, keys and values",
        facts=Facts(SHAPES, megatron="add_qkv_bias", flag=None, hf="qkv_bias attention_bias"),
    )

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return head_width(self.hidden, self.heads)

    @property
    def patches(self) -> int:
        """The number of complete patches of an image."""
        return (self.image.height // self.patch) * (self.image.width // self.patch)

    @property
    def tokens(self) -> int:
        """The number of tokens for one image."""
        patches = self.patches // 4 if self.pixel_shuffle else self.patches
        return patches + (0 if self.drop_class_tokens else self.class_tokens)

    @property
    def output_width(self) -> int:
        """The width of each output token."""
        return self.hidden * 4 if self.pixel_shuffle else self.hidden

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one image, `(3, height, width)`."""
        return 3, self.image.height, self.image.width

    @property
    @override
    def width_source(self) -> tuple[str, str]:
        return "hidden", f"4 · {self.hidden}" if self.pixel_shuffle else "hidden"

    @override
    def square_side(self, tokens: int) -> int | None:
        if self.image.height != self.image.width or not self.drop_class_tokens:
            return None
        return isqrt(tokens) * self.patch * (2 if self.pixel_shuffle else 1)

    def with_image_size(self, image: Size) -> Self:
        """The encoder for images of another size."""
        return evolve(self, image=image)


@node
class Radio(VisionEncoder):
    """RADIO: a ViT with interpolated position embeddings and several class tokens."""

    keyword: ClassVar[str] = "radio"
    splits_patches: ClassVar[bool] = True

    class_tokens: int = knob(check=AT_LEAST_0, default=8, doc="learned tokens before the patches")
    pixel_shuffle: bool = knob(
        default=True, doc="fold 2 by 2 patches into one token of four times the width"
    )
    activation: Activation = knob(default=Activation.FAST_GELU, doc="nonlinearity of the MLP")
    max_image: Size = knob(
        default=Size(height=2048, width=2048),
        unit="pixels",
        doc="the largest image that the position embeddings cover",
        facts=Facts(SHAPES, megatron=None, flag=None, hf="max_resolution"),
    )
    embedder_bias: bool = knob(
        default=False,
        doc="a bias in the patch embedding",
        facts=unnamed(SHAPES),
    )
    dynamic_resolution: bool = knob(
        default=False,
        doc="images of different sizes in one batch",
        facts=Facts(FUNCTION, megatron=None, flag="dynamic-resolution", hf=None),
    )

    @override
    def with_image_size(self, image: Size) -> Self:
        """The encoder for another image size; position embeddings cover twice its sides."""
        largest = Size(height=2 * image.height, width=2 * image.width)
        return evolve(self, image=image, max_image=largest)


@node
class Vit(VisionEncoder):
    """A plain ViT, as in CLIP."""

    keyword: ClassVar[str] = "vit"
