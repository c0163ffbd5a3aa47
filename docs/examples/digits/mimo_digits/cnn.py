"""The encoder in plain torch: from images `[n, 1, side, side]` to tokens `[n, tokens, width]`."""

from megatron.core.transformer.spec_utils import ModuleSpec
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from mimo_digits.kind import DigitCnn


class Cnn(nn.Module):
    """Two convolutions, each with a ReLU and a pooling to half the side; a token a pixel left."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        halved = max_pool2d(relu(self.first(images)), 2)
        quartered = max_pool2d(relu(self.second(halved)), 2)
        return quartered.flatten(2).transpose(1, 2)


def build(kind: DigitCnn) -> ModuleSpec:
    """What mimodsl builds a module of this kind from."""
    return ModuleSpec(module=Cnn, params={"width": kind.width})
