"""A self-attention layer: a norm, queries, keys and values, attention, and a projection."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.axes import CP
from mimodsl.ir.kinds import Norm
from mimodsl.planner.calls import Call, CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import (
    call,
    column_product,
    column_weights,
    row_product,
    row_weights,
)
from mimodsl.planner.layers.operation import Gradient, Operation, Overlap, Repeat
from mimodsl.planner.layers.saved import (
    SavedTensor,
    dropout_tensors,
    norm_tensors,
    statistics_size,
)
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import FP32


@frozen(kw_only=True)
class AttentionLayer(Layer):
    """`heads` queries, and `kv_groups` keys and values, of width `head_dim`.

    Rotary positions turn `rotated` channels of each head (transformer/attention.py,
    "class Attention … self.config.num_query_groups").
    """

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
        """Channels of all queries, and of what attention returns for them."""
        return self.heads * self.head_dim

    @property
    def key_value_width(self) -> int:
        """Channels of all keys; values have as many."""
        return self.kv_groups * self.head_dim

    @property
    def qkv_width(self) -> int:
        """Channels of queries, keys and values together, which one product makes."""
        return self.query_width + 2 * self.key_value_width

    @override
    def weights(self) -> Iterator[Weight]:
        name = "self_attention.linear_qkv"
        yield from row_weights(
            "self_attention.linear_proj", self.query_width, self.hidden, bias=self.bias
        )
        yield from column_weights(
            name, self.hidden, self.qkv_width, bias=self.bias or self.qkv_bias
        )
        yield from norm_weights(f"{name}.layer_norm_", self.norm, self.hidden)
        if self.qk_norm:
            for part in ("q", "k"):
                yield from norm_weights(
                    f"self_attention.{part}_layernorm.", self.norm, self.head_dim
                )

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        """Keys and values are views of the product that makes them, and keep the whole of it.

        With fewer groups than tp ranks, that product is gathered from all ranks
        (transformer/attention.py, "class SelfAttention( … self.world_size"). Attention itself saves
        its operands, its output, which the projection also needs, and the logarithm of each query's
        sum (torch's flash attention, and Transformer Engine's fused attention).
        """
        tp, element = share.sharding.tp, share.element
        yield from norm_tensors(share, self.norm, self.hidden)
        parts = tp if self.kv_groups >= tp else 1
        product = self.qkv_width // parts
        yield SavedTensor(name="queries, keys and values", size=share.tokens * product * element)
        queries = share.tokens * self.heads // tp * self.head_dim * element
        yield from self._by_head(share, queries)
        yield SavedTensor(name="context", size=queries)
        yield SavedTensor(name="sums", size=share.tokens * self.heads // tp * FP32, core=True)
        yield from dropout_tensors(share, self.hidden)

    def _by_head(self, share: Share, queries: int) -> Iterator[SavedTensor]:
        """Queries and keys where attention does not take them as views of the product.

        Queries of several groups are brought together (transformer/attention.py,
        "query = query.reshape(query.size"), norms save their input, and rotation makes new tensors,
        and saves only the angles, as cosines and sines.
        """
        groups = max(1, self.kv_groups // share.sharding.tp)
        keys = share.tokens * groups * self.head_dim * share.element
        is_changed = self.qk_norm or self.rotated > 0
        if groups > 1 and self.heads > self.kv_groups and (self.qk_norm or not is_changed):
            yield SavedTensor(name="queries", size=queries)
        if self.qk_norm:
            rows = (queries + keys) // (self.head_dim * share.element)
            yield SavedTensor(name="head norm statistics", size=statistics_size(rows, self.norm))
        if is_changed:
            yield SavedTensor(name="changed queries and keys", size=queries + keys)
        if self.rotated:
            angles = 4 * share.local_length * self.rotated * share.element
            yield SavedTensor(name="angles", size=angles)

    @override
    def working(self, share: Share) -> int:
        """Gradients of queries, keys and values, apart and together, and of the context."""
        width = 2 * self.qkv_width + self.query_width
        inner = share.tokens * width // share.sharding.tp * share.element
        return inner + 2 * share.rows * self.hidden * share.residual

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """Queries, keys and values in one product; attention itself; the projection."""
        yield column_product("attention", share, self.hidden, self.qkv_width)
        yield self._core(share)
        yield row_product("attention", share, self.query_width, self.hidden)

    def _core(self, share: Share) -> Operation:
        """Two products of `[s, s]` for each head: scores, and the sum of the values.

        Flash attention keeps no scores, and computes them again in its backward pass (Dao et al.,
        2022, algorithm 4).
        """
        sharding = share.sharding
        square = share.sequences * share.length**2 * self.query_width // sharding.cp // sharding.tp
        product = square if share.causal else 2 * square
        return Operation(
            name="attention core",
            gradient=Gradient.PRODUCT,
            flops=2 * product,
            kernel_repeats=product,
            causal=share.causal,
            repeat=Repeat.CORE,
            overlap=Overlap.ALL,
            forward_calls=self._ring(share, 1),
            backward_calls=self._ring(share, 2),
        )

    def _ring(self, share: Share, tensors: int) -> tuple[Call, ...]:
        """Keys and values go once around cp, while attention reads those that have arrived.

        In the backward pass their gradients go with them (Transformer Engine's
        attn_forward_func_with_cp, p2p).
        """
        width = max(self.key_value_width // share.sharding.tp, self.head_dim)
        size = 2 * share.tokens * width * share.element
        times = tensors * (share.sharding.cp - 1)
        group = share.group(CP)
        return (
            *call(group, CallKind.SEND, size, times),
            *call(group, CallKind.RECEIVE, size, times),
        )
