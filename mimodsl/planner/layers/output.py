"""The end of a language model: the final norm, the logits and their cross entropy."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import FP32, INT64, Saved, Share, norm_saved
from mimodsl.planner.layers.weight import Weight, norm_weights


@frozen(kw_only=True)
class OutputLayer(Layer):
    """Logits over `vocabulary`, split over tp.

    Where `tied` the weight is that of the embedding: on the same stage it is the same tensor, and
    with `copied` a stage without the embedding has a copy (models/common/language_module/
    language_module.py, setup_embeddings_and_output_layer).
    """

    title: ClassVar[str] = "output"
    stacked: ClassVar[bool] = False

    hidden: int
    vocabulary: int
    norm: Norm
    norm_name: str
    tied: bool
    copied: bool

    @override
    def weights(self) -> Iterator[Weight]:
        yield from norm_weights(f"decoder.{self.norm_name}.", self.norm, self.hidden)
        if not self.tied or self.copied:
            yield Weight(
                name="output_layer.weight",
                shape=(self.vocabulary, self.hidden),
                split=0,
                shared=self.copied,
            )

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        """The logits of the rank's part of the vocabulary, and of each token the logarithm of its
        sum and its label (mimodsl/megatron/cross_entropy.py)."""
        yield from norm_saved(at, self.norm, self.hidden)
        yield Saved(what="logits", size=self._logits(at))
        yield Saved(what="sums and labels", size=at.tokens * (FP32 + INT64))

    @override
    def working(self, at: Share) -> int:
        """Gradients of the weight and of the input: that of the logits takes their place."""
        weight = self.vocabulary * self.hidden // at.cut.tp if at.trained else 0
        return (weight + at.tokens * self.hidden) * at.element

    def _logits(self, at: Share) -> int:
        return at.tokens * self.vocabulary // at.cut.tp * at.element
