"""A projector, from an encoder's width to the language model's."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import evolve, frozen

from mimodsl.ir.axes import TP
from mimodsl.ir.kinds import Activation, Norm
from mimodsl.planner.calls import CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import (
    call,
    column_product,
    column_weights,
    row_product,
    row_weights,
)
from mimodsl.planner.layers.mlp import activation_tensors, mlp_working
from mimodsl.planner.layers.operation import Operation
from mimodsl.planner.layers.saved import SavedTensor, norm_tensors
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.share import Share


@frozen(kw_only=True)
class ProjectorLayer(Layer):
    """An MLP of inner width `ffn`, perhaps with a norm; without `ffn` one linear (models/vision/
    multimodal_projector.py)."""

    title: ClassVar[str] = "projector"
    stacked: ClassVar[bool] = False

    width: int
    hidden: int
    bias: bool
    ffn: int | None = None
    activation: Activation | None = None
    norm: Norm | None = None

    @property
    def products(self) -> int:
        """Channels of the first linear of an MLP."""
        gates = 2 if self.activation and self.activation.gated else 1
        return (self.ffn or 0) * gates

    @override
    def weights(self) -> Iterator[Weight]:
        if self.ffn is None:
            yield from column_weights("encoder", self.width, self.hidden, bias=self.bias)
            return
        yield from column_weights("encoder.linear_fc1", self.width, self.products, bias=self.bias)
        if self.norm:
            yield from norm_weights("encoder.linear_fc1.layer_norm_", self.norm, self.width)
        yield from row_weights("encoder.linear_fc2", self.ffn, self.hidden, bias=self.bias)

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        if self.norm:
            yield from norm_tensors(share, self.norm, self.width)
        else:
            size = share.tokens * self.width * share.element
            yield SavedTensor(name="input", size=size, for_weights=True)
        if self.ffn and self.activation:
            inner = share.tokens * self.ffn // share.sharding.tp * share.element
            yield from activation_tensors(self.activation, inner)

    @override
    def working(self, share: Share) -> int:
        return mlp_working(share, self.width, self.products, self.ffn or self.hidden)

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """The two products of an MLP, or one product whose output is gathered."""
        if self.ffn is not None:
            yield column_product("projector", share, self.width, self.products)
            yield row_product("projector", share, self.ffn, self.hidden)
            return
        size = share.tokens * self.hidden * share.element
        product = column_product("projector", share, self.width, self.hidden)
        yield evolve(product, forward_calls=call(share.group(TP), CallKind.ALL_GATHER, size))
