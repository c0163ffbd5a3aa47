"""The buffers that DDP keeps a module's gradients in, and reduces them and gathers weights by."""

from collections.abc import Iterable, Iterator
from math import lcm, prod

from attrs import frozen

from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Precision
from mimodsl.plan.layers import Cut, Weight

_START = 64
_END = 128
"""Elements that the start of a parameter and the end of a bucket are padded to a multiple of
(optimizer/param_layout.py)."""


@frozen(kw_only=True)
class Buffer:
    """One buffer: the weights of one precision, of experts or not, over the replicas of these.

    `elements` include padding, as one bucket. With overlapping reduction a buffer has several
    buckets, each padded again by fewer than lcm(replicas, 128) elements.
    """

    experts: bool
    elements: int
    weight_bytes: int
    gradient_bytes: int


def buffers(
    spec: Spec, weights: Iterable[Weight], cut: Cut, *, dense: int, experts: int
) -> Iterator[Buffer]:
    """The buffers of what one rank trains of a module, with so many replicas of dense weights and
    of experts (param_and_grad_buffer.py:882, distrib_optimizer.py:506).

    Experts that are cut as dense weights are, and not dealt out, lie among these
    (tensor_parallel/layers.py:961).
    """
    apart = cut.ep > 1 or cut.etp != cut.tp
    elements: dict[tuple[bool, bool], int] = {}
    narrow = spec.train.precision is not Precision.FP32
    for weight in weights:
        key = bool(weight.experts) and apart, weight.fp32 and narrow
        each = _padded(prod(weight.local(cut)), _START)
        elements[key] = elements.get(key, 0) + each * weight.copies(cut)
    for (of_experts, fp32), total in elements.items():
        size = 4 if fp32 or not narrow else 2
        yield Buffer(
            experts=of_experts,
            elements=_padded(total, lcm(experts if of_experts else dense, _END)),
            weight_bytes=size,
            gradient_bytes=4 if spec.train.ddp.grad_fp32 else size,
        )


def _padded(number: int, divisor: int) -> int:
    return -(-number // divisor) * divisor
