"""A self-attention layer: a norm, queries, keys and values, attention, and a projection."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.plan.layers.layer import Layer
from mimodsl.plan.layers.weight import Weight, column_linear, norm_weights, row_linear


@frozen(kw_only=True)
class AttentionLayer(Layer):
    """`heads` queries and `kv_groups` keys and values of width `head_dim` (transformer/
    attention.py:329)."""

    title: ClassVar[str] = "attention"

    hidden: int
    heads: int
    kv_groups: int
    head_dim: int
    norm: Norm
    bias: bool
    qkv_bias: bool
    qk_norm: bool = False

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
