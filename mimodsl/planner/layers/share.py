"""A rank's share of one microbatch, and what is kept of it until the backward pass."""

from typing import Final

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.ir.train import Kernels, Precision
from mimodsl.planner.layers.weight import Cut

FP32: Final = 4
"""Bytes of an element in fp32."""

INT64: Final = 8
"""Bytes of an index."""


def element_size(precision: Precision) -> int:
    """Bytes of a weight or an activation."""
    return FP32 if precision is Precision.FP32 else 2


@frozen(kw_only=True)
class Share:
    """What a rank of a module works on in one microbatch, and how.

    `sequences` of `length` tokens each, the rank's part along cp; with `split` each tp rank has its
    own tokens outside of products. An activation has `element` bytes an element, the residual
    stream `residual`. `trained` says that weights need gradients, `reached` that inputs do.
    """

    cut: Cut
    sequences: int
    length: int
    split: bool
    precision: Precision
    residual: int
    kernels: Kernels
    dropout: bool
    trained: bool
    reached: bool

    @property
    def element(self) -> int:
        return element_size(self.precision)

    @property
    def tokens(self) -> int:
        """Tokens that a product sees."""
        return self.sequences * self.length

    @property
    def rows(self) -> int:
        """Tokens outside of products."""
        return self.tokens // self.cut.tp if self.split else self.tokens

    def keeps(self, saved: "Saved") -> bool:
        """Whether a tensor is kept: a frozen weight needs nothing, and without a gradient to pass
        on, neither does anything else."""
        return self.trained or (self.reached and not saved.for_weights)


@frozen(kw_only=True)
class Saved:
    """A tensor that the backward pass waits for, in bytes.

    `for_weights` says that only gradients of weights need it: where the weights are frozen, it is
    not kept. `core` is what recomputing the core of attention spares.
    """

    what: str
    size: int
    for_weights: bool = False
    core: bool = False


def norm_saved(at: Share, norm: Norm, width: int) -> tuple[Saved, Saved, Saved]:
    """A norm at the start of a layer and the linear behind it: the norm's input and statistics, and
    the linear's input (torch's fused norms and Transformer Engine's alike)."""
    return (
        Saved(what="norm input", size=at.rows * width * at.residual),
        Saved(what="norm statistics", size=statistics(at.rows, norm)),
        Saved(what="normed", size=at.rows * width * at.element, for_weights=True),
    )


def statistics(rows: int, norm: Norm) -> int:
    """Bytes of what a norm remembers of each row: its scale, and a LayerNorm its mean."""
    return rows * FP32 * (2 if norm is Norm.LAYERNORM else 1)


def dropped(at: Share, width: int) -> tuple[Saved, ...]:
    """The mask of the dropout before a residual sum, a byte an element."""
    return (Saved(what="dropout mask", size=at.rows * width),) if at.dropout else ()
