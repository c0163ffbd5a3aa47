"""The projector in plain torch: from tokens `[n, t, width]` to `[n, queries, hidden]`."""

from math import sqrt

import torch
from megatron.core.transformer.spec_utils import ModuleSpec
from torch import Tensor, nn

from mimo_digits.kind import Resampler
from mimodsl.kinds import Between


class Attention(nn.Module):
    """Learned queries, each of which draws a token from all that are taken."""

    def __init__(self, queries: int, width: int, hidden: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, hidden))
        self.keys = nn.Linear(width, hidden)
        self.values = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        keys, values = self.keys(tokens), self.values(tokens)
        scores = torch.einsum("qh,nth->nqt", self.queries, keys) / sqrt(keys.shape[-1])
        return self.output(scores.softmax(-1) @ values)


def build(kind: Resampler, between: Between) -> ModuleSpec:
    """What mimodsl builds a module of this kind from, at its place between two others."""
    sizes = {"queries": kind.queries, "width": between.width, "hidden": between.hidden}
    return ModuleSpec(module=Attention, params=sizes)
