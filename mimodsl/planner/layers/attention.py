"""A self-attention layer: a norm, queries, keys and values, attention, and a projection."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import FP32, Saved, Share, dropped, norm_saved, statistics
from mimodsl.planner.layers.weight import Weight, column_linear, norm_weights, row_linear


@frozen(kw_only=True)
class AttentionLayer(Layer):
    """`heads` queries and `kv_groups` keys and values of width `head_dim`, `rotated` channels of
    which know their position (transformer/attention.py:329)."""

    title: ClassVar[str] = "attention"

    hidden: int
    heads: int
    kv_groups: int
    head_dim: int
    norm: Norm
    bias: bool
    qkv_bias: bool
    qk_norm: bool = False
    rotated: int = 0

    @property
    def query_width(self) -> int:
        """Channels of all queries, and of what attention gives for them."""
        return self.heads * self.head_dim

    @property
    def key_value_width(self) -> int:
        """Channels of all keys; there are as many of values."""
        return self.kv_groups * self.head_dim

    @override
    def weights(self) -> Iterator[Weight]:
        qkv = self.query_width + 2 * self.key_value_width
        name = "self_attention.linear_qkv"
        yield from row_linear(
            "self_attention.linear_proj", self.query_width, self.hidden, bias=self.bias
        )
        yield from column_linear(name, self.hidden, qkv, bias=self.bias or self.qkv_bias)
        yield from norm_weights(f"{name}.layer_norm_", self.norm, self.hidden)
        if self.qk_norm:
            for part in ("q", "k"):
                yield from norm_weights(
                    f"self_attention.{part}_layernorm.", self.norm, self.head_dim
                )

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        """Keys and values are views of the product that they come in, and keep it whole.

        Where there are fewer groups than tp ranks, that is the product of all ranks, gathered
        (transformer/attention.py:1839). Attention itself saves its operands, its output, which the
        projection also needs, and the logarithm of each query's sum (torch's flash attention, and
        Transformer Engine's fused attention).
        """
        tp, el = at.cut.tp, at.element
        yield from norm_saved(at, self.norm, self.hidden)
        parts = tp if self.kv_groups >= tp else 1
        product = (self.query_width + 2 * self.key_value_width) // parts
        yield Saved(what="queries, keys and values", size=at.tokens * product * el)
        queries = at.tokens * self.heads // tp * self.head_dim * el
        yield from self._by_head(at, queries)
        yield Saved(what="context", size=queries)
        yield Saved(what="sums", size=at.tokens * self.heads // tp * FP32, core=True)
        yield from dropped(at, self.hidden)

    def _by_head(self, at: Share, queries: int) -> Iterator[Saved]:
        """Queries and keys where attention does not take them as views of the product.

        Queries of several groups are brought together (…:1904), norms save what they are given, and
        rotation makes new ones, of which it saves only the angles, as cosines and sines.
        """
        groups = max(1, self.kv_groups // at.cut.tp)
        keys = at.tokens * groups * self.head_dim * at.element
        is_changed = self.qk_norm or self.rotated > 0
        if groups > 1 and self.heads > self.kv_groups and (self.qk_norm or not is_changed):
            yield Saved(what="queries", size=queries)
        if self.qk_norm:
            rows = (queries + keys) // (self.head_dim * at.element)
            yield Saved(what="head norm statistics", size=statistics(rows, self.norm))
        if is_changed:
            yield Saved(what="changed queries and keys", size=queries + keys)
        if self.rotated:
            yield Saved(what="angles", size=4 * at.length * self.rotated * at.element)

    @override
    def working(self, at: Share) -> int:
        """Gradients of queries, keys and values, apart and together, and of the context."""
        width = 2 * (self.query_width + 2 * self.key_value_width) + self.query_width
        return at.tokens * width // at.cut.tp * at.element + 2 * at.rows * self.hidden * at.residual
