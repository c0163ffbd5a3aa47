"""Weights by name and shape, and what a rank has of them."""

from math import prod

from attrs import frozen

from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Norm


@frozen(kw_only=True)
class Cut:
    """Over how many ranks one replica of a layer is spread: dense parts over tp, experts over ep,
    and each of these over etp. The sequence is cut into cp parts."""

    tp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1

    @classmethod
    def of(cls, grid: Grid) -> "Cut":
        """How a grid cuts the layers of its modules."""
        return cls(**{axis: grid.size(axis) for axis in ("tp", "cp", "ep", "etp")})

    @property
    def apart(self) -> bool:
        """Whether experts' gradients are reduced over edp, apart from the dense ones over dp and
        cp: where both lie alike, they are in one buffer (tensor_parallel/layers.py:961)."""
        return self.ep > 1 or self.etp != self.tp


@frozen(kw_only=True)
class Weight:
    """One parameter tensor of a layer, in megatron-core's name within the layer.

    `shape` is that of the whole tensor; `split` the dimension that is cut over tp, of an expert's
    weight over etp, and `None` where every one of those ranks has all of it. `experts` says how
    many of it there are, one an expert, dealt out over ep; 0 for a dense weight. `fp32` weights
    stay in fp32 whatever the model's precision. A `shared` weight is a tied embedding of which the
    first stage and the last have a copy each.
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

    def copies(self, cut: Cut) -> int:
        """How many tensors of this name a rank has: one, or as many as it has experts."""
        return self.experts // cut.ep or 1

    def local(self, cut: Cut) -> tuple[int, ...]:
        """The shape of each on a rank."""
        if self.split is None:
            return self.shape
        parts = cut.etp if self.experts else cut.tp
        return tuple(
            size // parts if dimension == self.split else size
            for dimension, size in enumerate(self.shape)
        )

    def held(self, cut: Cut) -> int:
        """Elements on a rank, of all its copies."""
        return prod(self.local(cut)) * self.copies(cut)


def norm_weights(name: str, norm: Norm, width: int) -> tuple[Weight, ...]:
    """The weight of a norm, and of a LayerNorm its bias, whole on every rank."""
    weight = Weight(name=f"{name}weight", shape=(width,))
    if norm is Norm.RMSNORM:
        return (weight,)
    return weight, Weight(name=f"{name}bias", shape=(width,))


def column_linear(
    name: str, width: int, output: int, *, bias: bool, experts: int = 0
) -> tuple[Weight, ...]:
    """A linear whose output, and with it its bias, is cut (tensor_parallel/layers.py:1034)."""
    weight = Weight(name=f"{name}.weight", shape=(output, width), split=0, experts=experts)
    if not bias:
        return (weight,)
    return weight, Weight(name=f"{name}.bias", shape=(output,), split=0, experts=experts)


def row_linear(
    name: str, width: int, output: int, *, bias: bool, experts: int = 0
) -> tuple[Weight, ...]:
    """A linear whose input is cut; its bias is whole (tensor_parallel/layers.py:1398)."""
    weight = Weight(name=f"{name}.weight", shape=(output, width), split=1, experts=experts)
    if not bias:
        return (weight,)
    return weight, Weight(name=f"{name}.bias", shape=(output,), experts=experts)
