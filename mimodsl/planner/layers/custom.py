"""A module of a kind of another package, as a single layer: what its kind says of it."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.package import Claims
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import Saved, Share
from mimodsl.planner.layers.weight import Weight


@frozen(kw_only=True)
class CustomLayer(Layer):
    """The whole of a module whose inside nobody here knows; no part of it is split."""

    title: ClassVar[str] = "own module"
    stacked: ClassVar[bool] = False

    claims: Claims

    @override
    def weights(self) -> Iterator[Weight]:
        for name, shape in self.claims.weights.items():
            yield Weight(name=name, shape=shape)

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        each = self.claims.saved_bytes(at.element)
        yield Saved(what="activations", size=at.sequences * each)

    @override
    def working(self, at: Share) -> int:
        return 0
