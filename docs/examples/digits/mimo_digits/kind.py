"""What a spec may say of a `digit_cnn`, and what follows from that; nothing here imports torch."""

from collections.abc import Mapping
from typing import ClassVar

from mimodsl.kinds import AT_LEAST_1, CustomEncoder, knob, node


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
