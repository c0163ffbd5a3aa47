"""The flat buffers of DDP: weights and gradients as megatron-core lays them out and pads them."""

from collections.abc import Iterable, Iterator
from math import lcm
from typing import Final

from attrs import frozen

from mimodsl.ir.kinds import Role
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Ddp
from mimodsl.planner.layers import Weight
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Sharding
from mimodsl.planner.sizes import FP32, element_size
from mimodsl.planner.stack import stage_layers

_ALIGNED: Final = 64
"""Elements that a weight starts at a multiple of (optimizer/param_layout.py:26)."""

_BUCKET: Final = 128
"""Elements that a bucket ends at a multiple of, as it ends at one of its ranks' (…:31)."""

_LEAST_BUCKET: Final = 40_000_000
_BUCKET_A_RANK: Final = 1_000_000
"""Parameters of a bucket where the spec is silent: the first, or that many for every data-parallel
rank (distributed/distributed_data_parallel.py:67)."""


@frozen(kw_only=True)
class Buffer:
    """Weights of one kind that lie side by side, and beside them their gradients.

    `elements` are with padding. A weight has `weight` bytes an element, its gradient `gradient`.
    The distributed optimizer deals the buffer out to `ranks` data-parallel ranks: along edp that of
    `experts`, and along dp and cp any other.
    """

    elements: int
    weight: int
    gradient: int
    ranks: int
    experts: bool

    @property
    def shard(self) -> int:
        """Elements that a rank updates."""
        return self.elements // self.ranks

    @property
    def optimizer(self) -> int:
        """Bytes of a rank's optimizer state: two moments in fp32, and of weights in less than that
        a copy in fp32 (optimizer/distrib_optimizer.py:445)."""
        return self.shard * FP32 * (2 if self.weight == FP32 else 3)


def gradient_buffers(spec: Spec, roles: Iterable[ModuleRole]) -> tuple[Buffer, ...]:
    """The buffers of a rank with these roles.

    DDP wraps an encoder together with its projector, and the language model. Frozen weights are in
    no buffer.
    """
    wrapped: dict[str, list[ModuleRole]] = {}
    for role in roles:
        flow = spec.flow_through(role.name)
        wrapped.setdefault(flow.encoder if flow else role.name, []).append(role)
    return tuple(buffer for parts in wrapped.values() for buffer in _buffers(spec, parts))


def _buffers(spec: Spec, parts: list[ModuleRole]) -> Iterator[Buffer]:
    ddp, own = spec.train.ddp, element_size(spec.train.precision)
    parts = sorted(parts, key=lambda role: role.module.role is Role.PROJECTOR)
    grid = spec.grid_of(parts[0].module)
    sharding = Sharding.of_grid(grid)
    replicas = grid.size("dp") * sharding.cp
    apart = grid.size("edp") if grid.expert else replicas
    bucket = _bucket(ddp, parts[0], grid.size("dp"))
    trained = [role for role in parts if not role.module.frozen]
    kinds: dict[tuple[int, bool], list[tuple[int, bool]]] = {}
    for weight in (one for role in trained for one in _weights(role, sharding)):
        kind = FP32 if weight.fp32 else own, weight.experts > 0 and sharding.has_expert_buffer
        kinds.setdefault(kind, []).append(
            (weight.held(sharding) // weight.copies(sharding), weight.shared)
        )
    for (element, is_expert), sizes in kinds.items():
        ranks = apart if is_expert else replicas
        yield Buffer(
            elements=_laid_out(sizes, bucket, ranks),
            weight=element,
            gradient=FP32 if ddp.grad_fp32 else element,
            ranks=ranks,
            experts=is_expert,
        )


def _bucket(ddp: Ddp, role: ModuleRole, replicas: int) -> int | None:
    """Parameters of a bucket; `None` for one bucket, where nothing is reduced during the backward
    pass, and behind the first stage (distributed/distributed_data_parallel.py:70,98)."""
    if not ddp.overlap_grad_reduce or not role.first:
        return None
    return ddp.bucket or max(_LEAST_BUCKET, _BUCKET_A_RANK * replicas)


def _weights(role: ModuleRole, sharding: Sharding) -> Iterator[Weight]:
    """A role's weights in order, every expert's on its own."""
    for layer in stage_layers(role):
        weights = list(layer.weights())
        experts = [weight for weight in weights if weight.experts]
        for weight in weights:
            if not weight.experts:
                yield weight
            elif weight is experts[0]:
                yield from experts * weight.copies(sharding)


def _laid_out(sizes: list[tuple[int, bool]], bucket: int | None, ranks: int) -> int:
    """Elements of a buffer, padding included, whose weights have these sizes in their module.

    As DistributedOptimizer._compute_per_buffer_param_layout (optimizer/distrib_optimizer.py:506):
    the last weight comes first, and a tied embedding has a bucket of its own.
    """
    start = end = 0
    for size, is_shared in reversed(sizes):
        at = _up(end, _ALIGNED)
        if is_shared and at > start:
            at = start = _up(at, lcm(ranks, _BUCKET))
        end = at + size
        if is_shared or (bucket is not None and end - start >= bucket):
            end = start = _up(end, lcm(ranks, _BUCKET))
    return _up(end, lcm(ranks, _BUCKET))


def _up(number: int, divisor: int) -> int:
    return -(-number // divisor) * divisor
