"""A dense MLP: a norm and two linears with a nonlinearity between them."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Activation, Norm
from mimodsl.plan.layers.layer import Layer
from mimodsl.plan.layers.weight import Weight, column_linear, norm_weights, row_linear


@frozen(kw_only=True)
class MlpLayer(Layer):
    """From `hidden` to `ffn` and back. A gated activation takes two products, which the first
    linear makes at once (transformer/mlp.py:150)."""

    title: ClassVar[str] = "MLP"

    hidden: int
    ffn: int
    activation: Activation
    norm: Norm
    bias: bool

    @property
    def products(self) -> int:
        """Channels of the first linear."""
        return self.ffn * (2 if self.activation.gated else 1)

    @override
    def weights(self) -> Iterator[Weight]:
        yield from column_linear("mlp.linear_fc1", self.hidden, self.products, bias=self.bias)
        yield from norm_weights("mlp.linear_fc1.layer_norm_", self.norm, self.hidden)
        yield from row_linear("mlp.linear_fc2", self.ffn, self.hidden, bias=self.bias)
