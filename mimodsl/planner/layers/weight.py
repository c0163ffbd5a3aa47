"""Weights by name and shape, and the part of each that a rank has."""

from math import prod

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.planner.share import Sharding


@frozen(kw_only=True)
class Weight:
    """One parameter tensor of a layer, with megatron-core's name within the layer.

    `shape` is the shape of the whole tensor. Dimension `split` is split over tp, or over etp for an
    expert's weight; with `None` every rank has the whole tensor. There are `experts` tensors of
    this name, one for each expert, which are spread over ep; 0 for a dense weight. `fp32` weights
    stay in fp32 whatever the model's precision. A `shared` weight is a tied embedding, of which the
    first and the last stage have a copy each.
    """

    name: str
    shape: tuple[int, ...]
    split: int | None = None
    experts: int = 0
    fp32: bool = False
    shared: bool = False

    @property
    def total(self) -> int:
        """Elements in the whole model, replicas left out."""
        return prod(self.shape) * (self.experts or 1)

    def copies(self, sharding: Sharding) -> int:
        """How many tensors of this name a rank has: one, or one for each of its experts."""
        return self.experts // sharding.ep or 1

    def local(self, sharding: Sharding) -> tuple[int, ...]:
        """The shape of each tensor on a rank."""
        if self.split is None:
            return self.shape
        parts = sharding.etp if self.experts else sharding.tp
        return tuple(
            size // parts if dimension == self.split else size
            for dimension, size in enumerate(self.shape)
        )

    def held(self, sharding: Sharding) -> int:
        """Elements on a rank, of all its tensors of this name."""
        return prod(self.local(sharding)) * self.copies(sharding)


def norm_weights(name: str, norm: Norm, width: int) -> tuple[Weight, ...]:
    """The weight of a norm, and the bias of a LayerNorm, whole on every rank."""
    weight = Weight(name=f"{name}weight", shape=(width,))
    if norm is Norm.RMSNORM:
        return (weight,)
    return weight, Weight(name=f"{name}bias", shape=(width,))
