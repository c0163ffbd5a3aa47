"""Bytes that must pass between a GPU and its memory, in each pass and at the end of a step."""

from collections.abc import Sequence

from attrs import frozen

from mimodsl.ir.kinds import Recompute, TransformerKind
from mimodsl.ir.spec import Spec
from mimodsl.planner.layers import (
    Cut,
    OutputLayer,
    PatchEmbedding,
    ProjectorLayer,
    TokenEmbedding,
    stage_layers,
)
from mimodsl.planner.layers.share import FP32, element_size
from mimodsl.planner.memory import Buffer, gradient_buffers, passes, role_share
from mimodsl.planner.roles import ModuleRole


@frozen(kw_only=True)
class Moved:
    """Bytes that a rank reads or writes, at the least.

    `forward` and `backward` are of one microbatch. `scaled` are of its gradients' division by the
    loss's weight, `updated` of the optimizer's step and the gradients' return to zero.
    """

    forward: int
    backward: int
    scaled: int
    updated: int


def moved(spec: Spec, roles: Sequence[ModuleRole]) -> Moved:
    """What a rank with these roles moves.

    A forward pass reads every weight and writes what it keeps; a backward pass reads both, and adds
    to every gradient. What else comes and goes, a large cache might hold.
    """
    buffers = gradient_buffers(spec, roles)
    gradients = sum(one.elements * one.gradient for one in buffers)
    kept = passes(spec, roles, 1).microbatch
    weights = [_weights(spec, role) for role in roles]
    return Moved(
        forward=sum(one.forward for one in weights) + kept,
        backward=sum(one.backward for one in weights) + kept + 2 * gradients,
        scaled=2 * gradients,
        updated=sum(map(_update, buffers)) + gradients,
    )


@frozen(kw_only=True)
class _Weights:
    """Bytes of weights that the passes of one microbatch read."""

    forward: int
    backward: int


def _weights(spec: Spec, role: ModuleRole) -> _Weights:
    """Of embeddings passes read rows alone. With `recompute = full` a backward pass reads the
    weights of a stack twice."""
    kind, share = role.module.kind, role_share(spec, role)
    again = isinstance(kind, TransformerKind) and kind.recompute is Recompute.FULL
    cut, element = Cut.of(spec.grid_of(role.module)), element_size(spec.train.precision)
    forward = backward = 0
    for layer in stage_layers(spec, role):
        if isinstance(layer, TokenEmbedding | PatchEmbedding):
            continue
        size = sum(one.held(cut) * (FP32 if one.fp32 else element) for one in layer.weights())
        forward += size
        if layer.stacked:
            backward += size * (1 + again)
        elif isinstance(layer, OutputLayer | ProjectorLayer):
            backward += size
    return _Weights(forward=forward, backward=backward if share.trained or share.reached else 0)


def _update(buffer: Buffer) -> int:
    """AdamW reads and writes its state, reads gradients and writes weights, of a rank's shard of
    them; weights in fp32, which have no copy in the state, it reads as well."""
    weight = buffer.weight * (2 if buffer.weight == FP32 else 1)
    return 2 * buffer.optimizer + buffer.shard * (buffer.gradient + weight)
