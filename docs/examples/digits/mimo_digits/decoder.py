"""The language model in plain torch: from embeddings `[n, s, hidden]` to logits `[n, s, words]`."""

from megatron.core.transformer.spec_utils import ModuleSpec
from torch import Tensor, nn
from torch.nn.functional import pad

from mimo_digits.kind import ConvDecoder


class Decoder(nn.Module):
    """Causal convolutions, each with a ReLU and added to what it takes."""

    def __init__(self, kind: ConvDecoder) -> None:
        super().__init__()
        self.before = kind.kernel - 1  # tokens that a kernel sees besides the one it ends at
        self.words = nn.Embedding(kind.vocabulary, kind.hidden)
        self.layers = nn.ModuleList(
            nn.Conv1d(kind.hidden, kind.hidden, kind.kernel) for _ in range(kind.layers)
        )
        self.logits = nn.Linear(kind.hidden, kind.vocabulary, bias=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids `[n, s]` to embeddings `[n, s, hidden]`, each of one token alone."""
        return self.words(ids)

    def forward(self, embeddings: Tensor) -> Tensor:
        states = embeddings.transpose(1, 2)
        for layer in self.layers:
            states = states + layer(pad(states, (self.before, 0))).relu()
        return self.logits(states.transpose(1, 2))


def build(kind: ConvDecoder, sequence: int) -> ModuleSpec:  # noqa: ARG001 - samples of any length
    """What mimodsl builds a module of this kind from."""
    return ModuleSpec(module=Decoder, params={"kind": kind})
