"""A module of a kind of another package, as a single layer that the kind describes."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.package import CustomModule
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.operation import Gradient, Operation, Repeat
from mimodsl.planner.layers.saved import SavedTensor
from mimodsl.planner.layers.weight import Weight
from mimodsl.planner.share import Share


@frozen(kw_only=True)
class CustomLayer(Layer):
    """A whole module, of which no part is split. `claims` are the numbers that its kind states."""

    title: ClassVar[str] = "own module"
    stacked: ClassVar[bool] = False
    backward_reads_weights: ClassVar[bool] = False  # a lower bound: its kind does not say

    claims: CustomModule

    @override
    def weights(self) -> Iterator[Weight]:
        for name, shape in self.claims.weights.items():
            yield Weight(name=name, shape=shape)

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        size = share.sequences * self.claims.saved_bytes(share.element)
        yield SavedTensor(name="activations", size=size)

    @override
    def working(self, share: Share) -> int:
        return 0

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """The operations that its kind states for a forward pass."""
        yield Operation(
            name=self.title,
            gradient=Gradient.CONVOLUTION,
            flops=share.sequences * self.claims.flops,
            repeat=Repeat.NEVER,
        )
