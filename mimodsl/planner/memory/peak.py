"""The most memory that a rank has allocated at a time, and what it is for."""

from math import prod
from typing import Final

from attrs import evolve, frozen

from mimodsl.ir.kinds import Role
from mimodsl.ir.spec import Spec
from mimodsl.ir.vision import Encoder
from mimodsl.planner.layers import Cut, stage_layers
from mimodsl.planner.layers.share import FP32, element_size
from mimodsl.planner.memory.activations import Passes, passes, role_share
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.sharing import communicators

MIB: Final = 2**20

WORKSPACE: Final = 64 * MIB
"""Of cuBLAS and cuBLASLt, which torch allocates: 32 MiB each on Hopper (aten/src/ATen/cuda/
CublasHandlePool.cpp of torch 2.11)."""

CONTEXT: Final = 600 * MIB
"""Of CUDA, with the kernels of torch loaded: outside of what torch allocates."""

COMMUNICATOR: Final = 448 * MIB
"""Of NCCL for a communicator of two ranks or more, outside of what torch allocates: each of its
channels has buffers. Between two H200s over NVLink, seven took 430 MiB each (benchmarks/gpu.md)."""

_SAMPLE: Final = 8 + 8 + 4
"""Bytes of a token of a sample: its id and its label, and whether the label counts."""


@frozen(kw_only=True)
class PeakMemory:
    """Bytes of a rank at the peak of a step.

    `weights` and `gradients` lie in DDP's buffers, padding included; `weights` are also frozen
    ones. `optimizer` is the rank's share of the state. `activations` are those of all microbatches
    in flight. `samples` are a step's batch and what stages hand on. `temporary` is what the worst
    moment needs besides: a backward pass, or the building of the model. `outside` is not torch's:
    CUDA's context and NCCL's buffers, two constants.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    samples: int
    temporary: int
    outside: int
    passes: Passes

    @property
    def allocated(self) -> int:
        """What `torch.cuda.max_memory_allocated` measures."""
        lasting = self.weights + self.gradients + self.optimizer
        return lasting + self.activations + self.samples + self.temporary

    @property
    def total(self) -> int:
        return self.allocated + self.outside


@frozen(kw_only=True)
class RoleMemory:
    """Ranks that need alike, by pipeline stage, and what the one of them needs that needs most."""

    stages: tuple[Ranks, ...]
    rank: int
    peak: PeakMemory


def role_memories(plan: Plan) -> tuple[RoleMemory, ...]:
    """The memory of all ranks of the world.

    Within a stage ranks differ by whether they lead at a bridge: the first or the last does. Costs
    as much for any number of ranks, and grows with the stages.
    """
    found: list[RoleMemory] = []
    for stage in (stage for alike in plan.alike() for stage in alike):
        peaks = {rank: peak_memory(plan, rank) for rank in {stage.start: 0, stage.last: 0}}
        rank = max(peaks, key=lambda rank: peaks[rank].total)
        for index, role in enumerate(found):
            if role.peak == peaks[rank]:
                found[index] = evolve(role, stages=(*role.stages, stage))
                break
        else:
            found.append(RoleMemory(stages=(stage,), rank=rank, peak=peaks[rank]))
    return tuple(found)


def peak_memory(plan: Plan, rank: int) -> PeakMemory:
    """The memory of one rank. `ValueError` outside the world."""
    spec, own = plan.spec, plan.rank(rank)
    roles = sorted(own.modules, key=lambda role: _ORDER[role.module.role])
    buffers = gradient_buffers(spec, own.modules)
    frozen_weights = sum(_weights(spec, role) for role in roles if role.module.frozen)
    done = passes(spec, roles, own.schedule.in_flight)
    weights = frozen_weights + sum(one.elements * one.weight for one in buffers)
    gradients = sum(one.elements * one.gradient for one in buffers)
    optimizer = sum(one.optimizer for one in buffers)
    samples = _samples(plan, roles) + _handed_on(spec, own, roles)
    activations = done.microbatch * done.in_flight
    lasting = weights + gradients + optimizer + samples + activations
    temporary = max(
        done.working + _gathered(spec, roles) + WORKSPACE,
        _update(buffers) - activations + WORKSPACE,
        _build(weights, gradients, buffers) - lasting,
    )
    return PeakMemory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        samples=samples,
        temporary=temporary,
        outside=CONTEXT + COMMUNICATOR * _communicators(plan, rank),
        passes=done,
    )


_ORDER: Final = {Role.ENCODER: 0, Role.PROJECTOR: 1, Role.LANGUAGE: 2}
"""The order in which data passes the modules of a rank."""


def _weights(spec: Spec, role: ModuleRole) -> int:
    cut, element = Cut.of(spec.grid_of(role.module)), element_size(spec.train.precision)
    return sum(
        weight.held(cut) * (FP32 if weight.fp32 else element)
        for layer in stage_layers(spec, role)
        for weight in layer.weights()
    )


def _samples(plan: Plan, roles: list[ModuleRole]) -> int:
    """The batch of a whole step, which is on the device before it begins: of every sample its
    tokens, and its images on the ranks of their encoder."""
    spec = plan.spec
    schedule = spec.schedule
    texts = max((role.samples_each for role in roles), default=0) * schedule.sequence * _SAMPLE
    pixels = 0
    for role in roles:
        flow, kind = spec.flow_through(role.name), role.module.kind
        if flow and isinstance(kind, Encoder):
            pixels += role.samples_each * flow.images * prod(kind.input_shape)
    images = pixels * element_size(spec.train.precision)
    return (texts + images) * schedule.microbatches


def _handed_on(spec: Spec, own: RankPlan, roles: list[ModuleRole]) -> int:
    """What a stage sends on, until its gradient comes back: once for every microbatch in flight,
    and the gradient (pipeline_parallel/schedules.py:2330)."""
    last = roles[-1] if roles else None
    if last is None or (last.module.role is Role.LANGUAGE and last.last):
        return 0
    share, flow = role_share(spec, last), spec.flow_through(last.name)
    rows = share.rows
    if flow is not None:
        rows = last.samples_each * spec.sample_tokens(flow)
    size = rows * spec.language_kind.hidden * share.residual
    return size * (own.schedule.in_flight + 1)


def _gathered(spec: Spec, roles: list[ModuleRole]) -> int:
    """The buffer that the local linears of a split sequence gather their input in, one for all of
    them (tensor_parallel/layers.py:579)."""
    shares = [role_share(spec, role) for role in roles]
    hidden = spec.language_kind.hidden
    return max(
        (share.tokens * hidden * share.element for share in shares if share.split), default=0
    )


def _update(buffers: tuple[Buffer, ...]) -> int:
    """Of an update: the shard's gradients in fp32 where they are not (optimizer/
    distrib_optimizer.py, _copy_model_grads_to_main_grads). AdamW itself is one kernel."""
    return sum(one.shard * FP32 for one in buffers if one.gradient < FP32)


def _build(weights: int, gradients: int, buffers: tuple[Buffer, ...]) -> int:
    """Of the building: weights lie in the model and in DDP's buffer, for a moment, and there is
    no optimizer yet."""
    return weights + gradients + max((one.elements * one.weight for one in buffers), default=0)


def _communicators(plan: Plan, rank: int) -> int:
    """Communicators of more than this rank, the world's among them."""
    own = (one.of(rank) for one in communicators(plan))
    return sum(len(members) > 1 for members in own if members is not None) + (plan.world > 1)
