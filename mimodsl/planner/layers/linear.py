"""Linears that are split over tp: their weights, and their products with the calls around them
(tensor_parallel/layers.py)."""

from mimodsl.ir.axes import TP
from mimodsl.planner.calls import Call, CallGroup, CallKind
from mimodsl.planner.layers.operation import Operation, Overlap, Repeat
from mimodsl.planner.layers.weight import Weight
from mimodsl.planner.share import Share


def column_weights(
    name: str, width: int, output: int, *, bias: bool, experts: int = 0
) -> tuple[Weight, ...]:
    """The weights of a linear whose output, and with it the bias, is split
    (tensor_parallel/layers.py, "self.bias = Parameter( torch.empty(self")."""
    weight = Weight(name=f"{name}.weight", shape=(output, width), split=0, experts=experts)
    if not bias:
        return (weight,)
    return weight, Weight(name=f"{name}.bias", shape=(output,), split=0, experts=experts)


def row_weights(
    name: str, width: int, output: int, *, bias: bool, experts: int = 0
) -> tuple[Weight, ...]:
    """The weights of a linear whose input is split. Every rank has the whole bias
    (tensor_parallel/layers.py, "self.bias = Parameter(torch.empty")."""
    weight = Weight(name=f"{name}.weight", shape=(output, width), split=1, experts=experts)
    if not bias:
        return (weight,)
    return weight, Weight(name=f"{name}.bias", shape=(output,), experts=experts)


def call(group: CallGroup | None, kind: CallKind, size: int, times: int = 1) -> tuple[Call, ...]:
    """A call of `size` bytes over a group; no call without a group or without bytes."""
    if group is None or size * times == 0:
        return ()
    return (Call(group=group, kind=kind, size=size, times=times),)


def column_product(
    name: str, share: Share, width: int, output: int, *, repeat: Repeat = Repeat.FULL
) -> Operation:
    """The product of a linear whose output is split.

    Its input is whole on every tp rank, or is gathered. With a split sequence the gradient of the
    weight gathers the input a second time (tensor_parallel/layers.py,
    "handle = dist_all_gather_func"), and the gradient of the input is summed and split in one call
    (tensor_parallel/layers.py, "handle = dist_reduce_scatter_func"). These two calls run beside the
    products of the two gradients.
    """
    group, size = share.group(TP), share.tokens * width * share.element
    gather = call(group, CallKind.ALL_GATHER, size) if share.split else ()
    reduce = CallKind.REDUCE_SCATTER if share.split else CallKind.ALL_REDUCE
    return Operation(
        name=name,
        flops=2 * share.tokens * width * output // share.sharding.tp,
        repeat=repeat,
        overlap=Overlap.BACKWARD,
        forward_calls=gather,
        backward_calls=call(group, reduce, size),
        weight_calls=gather,
    )


def row_product(name: str, share: Share, width: int, output: int) -> Operation:
    """The product of a linear whose input is split.

    Its output is a sum over tp. With a split sequence each rank keeps its tokens of it
    (tensor_parallel/layers.py, "if self.explicit_expert_comm: assert").
    """
    group, size = share.group(TP), share.tokens * output * share.element
    reduce = CallKind.REDUCE_SCATTER if share.split else CallKind.ALL_REDUCE
    return Operation(
        name=name,
        flops=2 * share.tokens * width * output // share.sharding.tp,
        forward_calls=call(group, reduce, size),
        backward_calls=call(group, CallKind.ALL_GATHER, size) if share.split else (),
    )
