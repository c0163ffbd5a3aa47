"""An encoder of another package, as a single layer: what its kind says of it."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.custom import CustomEncoder
from mimodsl.plan.layers.layer import Layer
from mimodsl.plan.layers.share import Saved, Share
from mimodsl.plan.layers.weight import Weight


@frozen(kw_only=True)
class CustomLayer(Layer):
    """The whole of an encoder whose inside nobody here knows; no part of it is split."""

    title: ClassVar[str] = "custom encoder"
    stacked: ClassVar[bool] = False

    kind: CustomEncoder

    @override
    def weights(self) -> Iterator[Weight]:
        for name, shape in self.kind.weights.items():
            yield Weight(name=name, shape=tuple(shape))

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        yield Saved(what="activations", size=at.sequences * self.kind.saved_bytes)

    @override
    def working(self, at: Share) -> int:
        return 0
