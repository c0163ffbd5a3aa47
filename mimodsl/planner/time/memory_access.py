"""Bytes that a GPU must read from or write to its memory, in each pass and at the end of a step."""

from collections.abc import Sequence

from attrs import frozen

from mimodsl.ir.kinds import Recompute
from mimodsl.planner.memory import Buffer, activation_memory, gradient_buffers
from mimodsl.planner.plan import Plan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.sizes import FP32
from mimodsl.planner.stack import stage_layers


@frozen(kw_only=True)
class MemoryAccess:
    """The least number of bytes that a rank reads or writes.

    `forward` and `backward` are for one microbatch. `scaling` is the division of all gradients by
    the loss's weight. `update` is the optimizer's step, and setting the gradients to zero.
    """

    forward: int
    backward: int
    scaling: int
    update: int


def memory_access(planned: Plan, roles: Sequence[ModuleRole]) -> MemoryAccess:
    """The memory access of a rank with these roles.

    A forward pass reads every weight and writes what it keeps. A backward pass reads both, and adds
    to every gradient. A large cache might hold everything else.
    """
    buffers = gradient_buffers(planned.spec, roles)
    gradients = sum(buffer.elements * buffer.gradient for buffer in buffers)
    kept = activation_memory(roles, 1).microbatch
    weights = [_weight_reads(role) for role in roles]
    return MemoryAccess(
        forward=sum(reads.forward for reads in weights) + kept,
        backward=sum(reads.backward for reads in weights) + kept + 2 * gradients,
        scaling=2 * gradients,
        update=sum(map(_update, buffers)) + gradients,
    )


@frozen(kw_only=True)
class _WeightReads:
    """Bytes of weights that the passes of one microbatch read."""

    forward: int
    backward: int


def _weight_reads(role: ModuleRole) -> _WeightReads:
    """With `recompute = full` a backward pass reads the weights of a stack twice."""
    share, again = role.share, role.plan.recompute is Recompute.FULL
    forward = backward = 0
    for layer in stage_layers(role):
        size = layer.weight_size(share)
        forward += size * layer.forward_reads_weights
        backward += size * layer.backward_reads_weights * (1 + (again and layer.stacked))
    has_backward = share.trained or share.reached
    return _WeightReads(forward=forward, backward=backward if has_backward else 0)


def _update(buffer: Buffer) -> int:
    """AdamW reads and writes its state, reads gradients and writes weights of the rank's shard. It
    also reads weights in fp32, which have no copy in the state."""
    weight = buffer.weight * (2 if buffer.weight == FP32 else 1)
    return 2 * buffer.optimizer + buffer.shard * (buffer.gradient + weight)
