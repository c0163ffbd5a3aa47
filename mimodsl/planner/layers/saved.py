"""Tensors that a forward pass saves for the backward pass, and the ones that most layers share."""

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import FP32


@frozen(kw_only=True)
class SavedTensor:
    """A tensor that the backward pass waits for, with its `size` in bytes on the rank.

    Only gradients of weights need a tensor that is `for_weights`: a frozen module does not save it.
    Recomputing the core of attention spares a tensor that is `core`.
    """

    name: str
    size: int
    for_weights: bool = False
    core: bool = False

    def is_kept(self, share: Share) -> bool:
        """Whether autograd keeps it: weights need gradients, or a gradient passes through."""
        return share.trained or (share.reached and not self.for_weights)


def norm_tensors(share: Share, norm: Norm, width: int) -> tuple[SavedTensor, ...]:
    """What a norm at the start of a layer and the linear behind it save: the norm's input and
    statistics, and the linear's input (torch's fused norms and Transformer Engine's alike)."""
    return (
        SavedTensor(name="norm input", size=share.rows * width * share.residual),
        SavedTensor(name="norm statistics", size=statistics_size(share.rows, norm)),
        SavedTensor(name="normed", size=share.rows * width * share.element, for_weights=True),
    )


def statistics_size(rows: int, norm: Norm) -> int:
    """Bytes of what a norm saves of each row: its scale, and a LayerNorm also its mean."""
    return rows * FP32 * (2 if norm is Norm.LAYERNORM else 1)


def dropout_tensors(share: Share, width: int) -> tuple[SavedTensor, ...]:
    """The mask of the dropout before a residual sum, one byte for each element."""
    return (SavedTensor(name="dropout mask", size=share.rows * width),) if share.dropout else ()
