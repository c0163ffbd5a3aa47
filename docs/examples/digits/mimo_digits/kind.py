"""What a spec may say of the kinds, and what follows from that; nothing here imports torch."""

from collections.abc import Mapping
from typing import ClassVar

from mimodsl.kinds import (
    AT_LEAST_1,
    Between,
    CustomEncoder,
    CustomLanguage,
    CustomProjector,
    knob,
    node,
)


@node
class DigitCnn(CustomEncoder):
    """Two convolutions over a grey image, each followed by a pooling to half the side."""

    keyword: ClassVar[str] = "digit_cnn"
    builder: ClassVar[str] = "mimo_digits.cnn:build"
    rules: ClassVar[str] = "mimo_digits.rules:RULES"

    side: int = knob(default=8, unit="pixels", check=AT_LEAST_1, doc="side of an image")
    width: int = knob(
        default=16, check=AT_LEAST_1, doc="channels of the first convolution; the second has twice"
    )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return 1, self.side, self.side

    @property
    def tokens(self) -> int:
        return (self.side // 4) ** 2

    @property
    def output_width(self) -> int:
        return 2 * self.width

    @property
    def weights(self) -> Mapping[str, tuple[int, ...]]:
        return {
            "first.weight": (self.width, 1, 3, 3),
            "first.bias": (self.width,),
            "second.weight": (2 * self.width, self.width, 3, 3),
            "second.bias": (2 * self.width,),
        }

    def saved_bytes(self, element: int) -> int:
        """The inputs of both convolutions, what each gives, and which pixel of four was largest."""
        pixels = self.side**2
        first, second = self.width * pixels, 2 * self.width * pixels // 4
        values = pixels + first + first // 4 + second
        largest = first // 4 + second // 4  # an int64 each
        return element * values + 8 * largest

    @property
    def flops(self) -> int:
        pixels = self.side**2
        first = 2 * 9 * self.width * pixels
        second = 2 * 9 * self.width * 2 * self.width * pixels // 4
        return first + second


@node
class Resampler(CustomProjector):
    """Learned queries that look at all tokens of an image, each for one token of its own."""

    keyword: ClassVar[str] = "resampler"
    builder: ClassVar[str] = "mimo_digits.resampler:build"

    queries: int = knob(default=2, check=AT_LEAST_1, doc="tokens given for an image")

    def tokens(self, between: Between) -> int:  # noqa: ARG002 - however many are taken
        return self.queries

    def weights(self, between: Between) -> Mapping[str, tuple[int, ...]]:
        width, hidden = between.width, between.hidden
        return {
            "queries": (self.queries, hidden),
            "keys.weight": (hidden, width),
            "keys.bias": (hidden,),
            "values.weight": (hidden, width),
            "values.bias": (hidden,),
            "output.weight": (hidden, hidden),
            "output.bias": (hidden,),
        }

    def saved_bytes(self, between: Between, element: int) -> int:
        """The tokens taken, their keys and values, which of them are drawn, and what is."""
        taken = between.tokens * (between.width + 2 * between.hidden)
        return element * (taken + self.queries * (between.tokens + between.hidden))

    def flops(self, between: Between) -> int:
        taken, hidden = between.tokens, between.hidden
        keys_and_values = 2 * 2 * taken * between.width * hidden
        drawn = 2 * 2 * self.queries * taken * hidden
        return keys_and_values + drawn + 2 * self.queries * hidden * hidden


@node
class ConvDecoder(CustomLanguage):
    """A decoder of convolutions over a token and those before it, which needs no positions."""

    keyword: ClassVar[str] = "conv_decoder"
    builder: ClassVar[str] = "mimo_digits.decoder:build"

    layers: int = knob(default=2, check=AT_LEAST_1, doc="convolutions, each with a ReLU")
    kernel: int = knob(default=4, unit="tokens", check=AT_LEAST_1, doc="tokens that a layer sees")
    hidden: int = knob(check=AT_LEAST_1, doc="channels, and width of embeddings")
    vocabulary: int = knob(check=AT_LEAST_1, doc="token ids")

    def weights(self, sequence: int) -> Mapping[str, tuple[int, ...]]:  # noqa: ARG002 - of any length
        hidden, vocabulary = self.hidden, self.vocabulary
        weights: dict[str, tuple[int, ...]] = {"words.weight": (vocabulary, hidden)}
        for layer in range(self.layers):
            weights[f"layers.{layer}.weight"] = (hidden, hidden, self.kernel)
            weights[f"layers.{layer}.bias"] = (hidden,)
        return weights | {"logits.weight": (vocabulary, hidden)}

    def saved_bytes(self, sequence: int, element: int) -> int:
        """The padded input and the ReLU's output of every layer, the last output, the logits."""
        layer = self.hidden * (sequence + self.kernel - 1) + self.hidden * sequence
        return element * (self.layers * layer + sequence * (self.hidden + self.vocabulary))

    def flops(self, sequence: int) -> int:
        layers = self.layers * self.kernel * self.hidden**2
        return 2 * sequence * (layers + self.hidden * self.vocabulary)
