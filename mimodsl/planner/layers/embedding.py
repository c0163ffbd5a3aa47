"""The embedding of token ids, on a language model's first stage."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import INT64, Saved, Share
from mimodsl.planner.layers.weight import Weight


@frozen(kw_only=True)
class TokenEmbedding(Layer):
    """`vocabulary` rows, split over tp, and with learned positions one row for each of them
    (models/common/embeddings/language_model_embedding.py:50). With `copied` the output on another
    stage has a copy."""

    title: ClassVar[str] = "embedding"
    stacked: ClassVar[bool] = False

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
    def saved(self, at: Share) -> Iterator[Saved]:
        """Ids, with tp a mask of those on other ranks, positions, and the mask of the dropout.

        A sequence is split after it, and a tp rank's part is a view that keeps the whole
        (models/mimo/partition/utils.py:162).
        """
        mask = 1 if at.cut.tp > 1 else 0
        ids = at.tokens * (INT64 + mask) + (at.length * INT64 if self.positions else 0)
        yield Saved(what="token ids", size=ids, for_weights=True)
        yield Saved(what="whole sequence", size=(at.tokens - at.rows) * self.hidden * at.residual)
        if at.dropout:
            yield Saved(what="dropout mask", size=at.tokens * self.hidden)

    @override
    def working(self, at: Share) -> int:
        """The gradient of all rows, and of the tokens."""
        rows = self.vocabulary * self.hidden // at.cut.tp if at.trained else 0
        return (rows + at.tokens * self.hidden) * at.element
