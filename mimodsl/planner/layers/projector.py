"""A projector, from an encoder's width to the language model's."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Activation, Norm
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.mlp import activation_saved, mlp_working
from mimodsl.planner.layers.share import Saved, Share, norm_saved
from mimodsl.planner.layers.weight import Weight, column_linear, norm_weights, row_linear


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
            yield from column_linear("encoder", self.width, self.hidden, bias=self.bias)
            return
        yield from column_linear("encoder.linear_fc1", self.width, self.products, bias=self.bias)
        if self.norm:
            yield from norm_weights("encoder.linear_fc1.layer_norm_", self.norm, self.width)
        yield from row_linear("encoder.linear_fc2", self.ffn, self.hidden, bias=self.bias)

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        if self.norm:
            yield from norm_saved(at, self.norm, self.width)
        else:
            inputs = at.tokens * self.width * at.element
            yield Saved(what="input", size=inputs, for_weights=True)
        if self.ffn and self.activation:
            inner = at.tokens * self.ffn // at.cut.tp * at.element
            yield from activation_saved(self.activation, inner)

    @override
    def working(self, at: Share) -> int:
        return mlp_working(at, self.width, self.products, self.ffn or self.hidden)
