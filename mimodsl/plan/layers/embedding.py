"""The embedding of token ids, on a language model's first stage."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.plan.layers.layer import Layer
from mimodsl.plan.layers.weight import Weight


@frozen(kw_only=True)
class TokenEmbedding(Layer):
    """`vocabulary` rows, split over tp, and with learned positions one row for each of them
    (models/common/embeddings/language_model_embedding.py:50). With `copied` the output on another
    stage has a copy."""

    title: ClassVar[str] = "embedding"

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
