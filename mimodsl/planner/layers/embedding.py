"""The embedding of token ids, on a language model's first stage."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.axes import TP
from mimodsl.planner.calls import CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import call
from mimodsl.planner.layers.operation import Operation, Repeat
from mimodsl.planner.layers.saved import SavedTensor
from mimodsl.planner.layers.weight import Weight
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import INT64


@frozen(kw_only=True)
class TokenEmbedding(Layer):
    """`vocabulary` rows, which are split over tp, and with learned positions a row for each.

    With `copied` the output on another stage has a copy
    (models/common/embeddings/language_model_embedding.py, "and self.num_tokentypes <= 0").
    """

    title: ClassVar[str] = "embedding"
    stacked: ClassVar[bool] = False
    forward_reads_weights: ClassVar[bool] = False
    backward_reads_weights: ClassVar[bool] = False

    hidden: int
    vocabulary: int
    positions: int = 0
    copied: bool = False

    @override
    def weights(self) -> Iterator[Weight]:
        yield Weight(
            name="embedding.word_embeddings.weight",
            shape=(self.vocabulary, self.hidden),
            split=0,
            shared=self.copied,
        )
        if self.positions:
            yield Weight(
                name="embedding.position_embeddings.weight", shape=(self.positions, self.hidden)
            )

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        """Ids, with tp a mask of the ids on other ranks, positions, and the mask of the dropout.

        A sequence is split after the embedding, and a tp rank's part is a view that keeps the whole
        (models/mimo/partition/utils.py, "embeddings = tensor_parallel").
        """
        mask = 1 if share.sharding.tp > 1 else 0
        positions = share.local_length * INT64 if self.positions else 0
        ids = share.tokens * (INT64 + mask) + positions
        yield SavedTensor(name="token ids", size=ids, for_weights=True)
        others = (share.tokens - share.rows) * self.hidden * share.residual
        yield SavedTensor(name="whole sequence", size=others)
        if share.dropout:
            yield SavedTensor(name="dropout mask", size=share.tokens * self.hidden)

    @override
    def working(self, share: Share) -> int:
        """The gradient of all rows, and of the tokens."""
        rows = self.vocabulary * self.hidden // share.sharding.tp if share.trained else 0
        return (rows + share.tokens * self.hidden) * share.element

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """A lookup, which takes no product.

        Each tp rank looks up its part of the vocabulary, and the rows of text are summed over tp.
        The backward pass undoes the split of the merged sequence (models/mimo/partition/utils.py,
        "embeddings = tensor_parallel").
        """
        group, row = share.group(TP), self.hidden * share.element
        gather = call(group, CallKind.ALL_GATHER, share.tokens * row)
        yield Operation(
            name="embedding",
            repeat=Repeat.NEVER,
            forward_calls=call(group, CallKind.ALL_REDUCE, share.text * row),
            backward_calls=gather if share.split else (),
        )
