"""The most memory that a rank has allocated at a time, and what it is for."""

from math import prod
from typing import Final

from attrs import evolve, frozen

from mimodsl.ir.kinds import Role
from mimodsl.planner.memory.activations import ActivationMemory, activation_memory
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.sharing import communicators
from mimodsl.planner.sizes import FP32, element_size
from mimodsl.planner.stack import stage_layers

MIB: Final = 2**20

WORKSPACE: Final = 64 * MIB
"""The workspaces of cuBLAS and cuBLASLt, which torch allocates: 32 MiB each on Hopper (aten/src/
ATen/cuda/CublasHandlePool.cpp of torch 2.11)."""

CONTEXT: Final = 600 * MIB
"""CUDA's own memory, with the kernels of torch loaded: torch does not allocate it."""

COMMUNICATOR: Final = 448 * MIB
"""NCCL's memory for a communicator of two ranks or more: each of its channels has buffers, which
torch does not allocate. Between two H200s over NVLink, seven took 430 MiB each
(benchmarks/gpu.md)."""

_SAMPLE: Final = 8 + 8 + 4
"""Bytes of a token of a sample: its id and its label, and whether the label counts."""


@frozen(kw_only=True)
class PeakMemory:
    """Bytes of a rank at the peak of a step.

    `weights` and `gradients` are in DDP's buffers, padding included; frozen weights are also in
    `weights`. `optimizer` is the rank's shard of the state. `activations` are kept for all
    microbatches in flight; `activation_memory` says by which layers. `samples` are the batch of a
    step and what stages hand on. `temporary` is needed besides at the worst moment: a backward
    pass, or the building of the model. `outside` is not allocated by torch: CUDA's context and
    NCCL's buffers, two constants.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    samples: int
    temporary: int
    outside: int
    activation_memory: ActivationMemory

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
    """Ranks that need about the same, by pipeline stage, and the `peak` of the `rank` that needs
    the most."""

    stages: tuple[Ranks, ...]
    rank: int
    peak: PeakMemory


def role_memories(plan: Plan) -> tuple[RoleMemory, ...]:
    """The memory of all ranks of the world.

    Within a stage, a rank needs more if it leads at a bridge: the first or the last rank does. The
    time that this takes grows with the stages, and not with the ranks.
    """
    memories: list[RoleMemory] = []
    for stage in (stage for alike in plan.alike() for stage in alike):
        peaks = {rank: peak_memory(plan, rank) for rank in {stage.start: 0, stage.last: 0}}
        rank = max(peaks, key=lambda rank: peaks[rank].total)
        for index, role in enumerate(memories):
            if role.peak == peaks[rank]:
                memories[index] = evolve(role, stages=(*role.stages, stage))
                break
        else:
            memories.append(RoleMemory(stages=(stage,), rank=rank, peak=peaks[rank]))
    return tuple(memories)


def peak_memory(plan: Plan, rank: int) -> PeakMemory:
    """The memory of one rank. `ValueError` outside the world."""
    rank_plan = plan.rank(rank)
    roles = sorted(rank_plan.modules, key=lambda role: _ORDER[role.module.role])
    buffers = gradient_buffers(plan.spec, rank_plan.modules)
    frozen_weights = sum(_weights(role) for role in roles if role.module.frozen)
    memory = activation_memory(roles, rank_plan.schedule.in_flight)
    weights = frozen_weights + sum(buffer.elements * buffer.weight for buffer in buffers)
    gradients = sum(buffer.elements * buffer.gradient for buffer in buffers)
    optimizer = sum(buffer.optimizer for buffer in buffers)
    samples = _samples(plan, roles) + _handed_on(plan, rank_plan, roles)
    activations = memory.microbatch * memory.in_flight
    lasting = weights + gradients + optimizer + samples + activations
    temporary = max(
        memory.working + _gathered(roles) + WORKSPACE,
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
        activation_memory=memory,
    )


_ORDER: Final = {Role.ENCODER: 0, Role.PROJECTOR: 1, Role.LANGUAGE: 2}
"""The order in which data passes the modules of a rank."""


def _weights(role: ModuleRole) -> int:
    share = role.share
    return sum(layer.weight_size(share) for layer in stage_layers(role))


def _samples(plan: Plan, roles: list[ModuleRole]) -> int:
    """The batch of a whole step, which is on the device before the step begins: the tokens of every
    sample, and on the ranks of an encoder its images."""
    spec = plan.spec
    schedule = spec.schedule
    texts = max((role.samples_each for role in roles), default=0) * schedule.sequence * _SAMPLE
    pixels = 0
    for role in roles:
        if role.module.role is Role.ENCODER:
            pixels += role.samples_each * role.plan.images * prod(role.plan.inputs)
    images = pixels * element_size(spec.train.precision)
    return (texts + images) * schedule.microbatches


def _handed_on(plan: Plan, rank_plan: RankPlan, roles: list[ModuleRole]) -> int:
    """What a stage sends on, until its gradient comes back: one tensor for every microbatch in
    flight, and the gradient (pipeline_parallel/schedules.py,
    "if not forward_only: input_tensors.")."""
    last = roles[-1] if roles else None
    if last is None or (last.module.role is Role.LANGUAGE and last.last):
        return 0
    spec, share, flow = plan.spec, last.share, last.plan.flow
    rows = share.rows if flow is None else share.sequences * last.plan.outputs[0]
    size = rows * plan.modules[spec.language.name].widths.hidden * share.residual
    return size * (rank_plan.schedule.in_flight + 1)


def _gathered(roles: list[ModuleRole]) -> int:
    """The buffer in which the local linears of a split sequence gather their input, one for all
    linears (tensor_parallel/layers.py, "output = torch.matmul(total_input … return output")."""
    return max(
        (
            role.share.tokens * role.plan.widths.hidden * role.share.element
            for role in roles
            if role.share.split
        ),
        default=0,
    )


def _update(buffers: tuple[Buffer, ...]) -> int:
    """Memory of an update: the shard's gradients in fp32 where they are not in fp32 (optimizer/
    distrib_optimizer.py, _copy_model_grads_to_main_grads). AdamW itself is one kernel."""
    return sum(buffer.shard * FP32 for buffer in buffers if buffer.gradient < FP32)


def _build(weights: int, gradients: int, buffers: tuple[Buffer, ...]) -> int:
    """Memory while the model is built: for a moment the weights are both in the model and in DDP's
    buffer. The optimizer does not exist yet."""
    copies = (buffer.elements * buffer.weight for buffer in buffers)
    return weights + gradients + max(copies, default=0)


def _communicators(plan: Plan, rank: int) -> int:
    """Communicators of this rank with others, the world's included."""
    groups = (communicator.of(rank) for communicator in communicators(plan))
    return sum(len(members) > 1 for members in groups if members is not None) + (plan.world > 1)
