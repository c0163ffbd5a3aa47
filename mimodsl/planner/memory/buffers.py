"""The flat buffers of DDP, in which megatron-core lays out and pads weights and gradients."""

from collections.abc import Iterable, Iterator
from math import lcm
from typing import Final

from attrs import frozen

from mimodsl.ir.axes import DP, EDP
from mimodsl.ir.kinds import Role
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Ddp
from mimodsl.planner.layers import Weight
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Sharding
from mimodsl.planner.sizes import FP32, element_size
from mimodsl.planner.stack import stage_layers

_ALIGNED: Final = 64
"""A weight starts at a multiple of as many elements (optimizer/param_layout.py,
"return pad_to_divisor(param_start_index, 64)")."""

_BUCKET: Final = 128
"""A bucket ends at a multiple of as many elements, and of its number of ranks
(optimizer/param_layout.py, "if pad_for_high_nccl_busbw")."""

_LEAST_BUCKET: Final = 40_000_000
_BUCKET_A_RANK: Final = 1_000_000
"""Parameters of a bucket where the spec names none: the larger of the first number, and of the
second number for each data-parallel rank (distributed/distributed_data_parallel.py,
"max(40000000, 1000000 * dp_group.size())")."""


@frozen(kw_only=True)
class Buffer:
    """Weights of one kind in one piece of memory, and their gradients in another.

    `elements` include padding. A weight has `weight` bytes an element, its gradient `gradient`. The
    distributed optimizer splits the buffer over `ranks` data-parallel ranks: a buffer of `experts`
    along edp, any other along dp and cp.
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
        """Bytes of a rank's optimizer state: two moments in fp32, and an fp32 copy of weights that
        are not in fp32 (optimizer/distrib_optimizer.py, "shard_main_param = shard_model_param")."""
        return self.shard * FP32 * (2 if self.weight == FP32 else 3)


def gradient_buffers(spec: Spec, roles: Iterable[ModuleRole]) -> tuple[Buffer, ...]:
    """The buffers of a rank with these roles. Frozen weights are in no buffer."""
    units = wrapped_together(spec, roles)
    return tuple(buffer for unit in units for buffer in _buffers(spec, unit))


def wrapped_together(spec: Spec, roles: Iterable[ModuleRole]) -> tuple[tuple[ModuleRole, ...], ...]:
    """The roles of a rank by the DDP that wraps them: an encoder together with its projector, and
    the language model."""
    units: dict[str, list[ModuleRole]] = {}
    for role in roles:
        flow = spec.flow_through(role.name)
        units.setdefault(flow.encoder if flow else role.name, []).append(role)
    return tuple(map(tuple, units.values()))


def _buffers(spec: Spec, unit: tuple[ModuleRole, ...]) -> Iterator[Buffer]:
    ddp, model = spec.train.ddp, element_size(spec.train.precision)
    parts = sorted(unit, key=lambda role: role.module.role is Role.PROJECTOR)
    grid = spec.grid_of(parts[0].module)
    sharding = Sharding.of_grid(grid)
    replicas = grid.size(DP) * sharding.cp
    expert_replicas = grid.size(EDP) if grid.expert else replicas
    bucket = _bucket(ddp, parts[0], grid.size(DP))
    trained = [role for role in parts if not role.module.frozen]
    kinds: dict[tuple[int, bool], list[tuple[int, bool]]] = {}
    for weight in (weight for role in trained for weight in _weights(role, sharding)):
        kind = FP32 if weight.fp32 else model, weight.experts > 0 and sharding.has_expert_buffer
        kinds.setdefault(kind, []).append(
            (weight.held(sharding) // weight.copies(sharding), weight.shared)
        )
    for (element, is_expert), sizes in kinds.items():
        ranks = expert_replicas if is_expert else replicas
        yield Buffer(
            elements=_laid_out(sizes, bucket, ranks),
            weight=element,
            gradient=FP32 if ddp.grad_fp32 else element,
            ranks=ranks,
            experts=is_expert,
        )


def _bucket(ddp: Ddp, role: ModuleRole, replicas: int) -> int | None:
    """Parameters of a bucket; `None` for one bucket.

    There is one bucket if nothing is reduced during the backward pass, and on every stage but the
    first (distributed/distributed_data_parallel.py, "if not ddp_config.overlap_grad_reduce",
    "self.bucket_size = self.ddp_config").
    """
    if not ddp.overlap_grad_reduce or not role.first:
        return None
    return ddp.bucket or max(_LEAST_BUCKET, _BUCKET_A_RANK * replicas)


def _weights(role: ModuleRole, sharding: Sharding) -> Iterator[Weight]:
    """A role's weights in order, with the weights of one expert after those of the other."""
    for layer in stage_layers(role):
        weights = list(layer.weights())
        experts = [weight for weight in weights if weight.experts]
        for weight in weights:
            if not weight.experts:
                yield weight
            elif weight is experts[0]:
                yield from experts * weight.copies(sharding)


def _laid_out(sizes: list[tuple[int, bool]], bucket: int | None, ranks: int) -> int:
    """Elements of a buffer, padding included, of weights with these sizes in the module's order.

    As DistributedOptimizer._compute_per_buffer_param_layout (optimizer/distrib_optimizer.py,
    "def _compute_per_buffer_param_layout"): the last weight comes first, and a tied embedding has a
    bucket of its own.
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
