"""The end of a language model: the final norm, the logits and their cross entropy."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.axes import TP
from mimodsl.ir.kinds import Norm
from mimodsl.planner.calls import CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import call, column_product
from mimodsl.planner.layers.operation import Operation, Repeat
from mimodsl.planner.layers.saved import SavedTensor, norm_tensors
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import FP32, INT64


@frozen(kw_only=True)
class OutputLayer(Layer):
    """Logits over `vocabulary`, which is split over tp.

    Where `tied` the weight is the weight of the embedding: on the same stage it is the same tensor,
    and with `copied` a stage without the embedding has a copy (models/common/language_module/
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
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        """The logits of the rank's part of the vocabulary, and for each token the logarithm of its
        sum and its label (mimodsl/megatron/cross_entropy.py)."""
        yield from norm_tensors(share, self.norm, self.hidden)
        logits = share.tokens * self.vocabulary // share.sharding.tp * share.element
        yield SavedTensor(name="logits", size=logits)
        yield SavedTensor(name="sums and labels", size=share.tokens * (FP32 + INT64))

    @override
    def working(self, share: Share) -> int:
        """Gradients of the weight and of the input. Logits and their gradient share memory."""
        weight = self.vocabulary * self.hidden // share.sharding.tp if share.trained else 0
        return (weight + share.tokens * self.hidden) * share.element

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """Logits over the split vocabulary, and the loss.

        The loss takes two sums over tp: the largest logarithm of a rank's exponentials, then the
        exponentials together with the label's logit, all in fp32.
        """
        yield column_product("logits", share, self.hidden, self.vocabulary, repeat=Repeat.NEVER)
        group, size = share.group(TP), share.tokens * FP32
        calls = (
            *call(group, CallKind.ALL_REDUCE, size),
            *call(group, CallKind.ALL_REDUCE, 2 * size),
        )
        yield Operation(name="loss", repeat=Repeat.NEVER, forward_calls=calls)
