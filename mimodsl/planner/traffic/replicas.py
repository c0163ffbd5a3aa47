"""The calls at the end of a step: gradients and weights over replicas, and a few small sums."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.axes import CP, DP, EDP, PP, TP
from mimodsl.ir.kinds import Role
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Precision
from mimodsl.planner.calls import WORLD, Call, CallGroup, CallKind, Purpose, call_groups
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.layers import Weight
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers, wrapped_together
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Sharding
from mimodsl.planner.sizes import FP32
from mimodsl.planner.stack import stage_layers

_FLAG = 4
"""Bytes of a norm, of a flag, and of the tokens of an expert: each has 32 bits."""


@frozen(kw_only=True)
class DdpUnit:
    """The modules that one DDP wraps on a rank: an encoder with its projector, or the language
    model."""

    spec: Spec
    grid: GridPlan
    roles: tuple[ModuleRole, ...]

    @property
    def trained(self) -> tuple[ModuleRole, ...]:
        """The roles whose modules are not frozen."""
        return tuple(role for role in self.roles if role.plan.trained)

    def weights(self) -> Iterator[Weight]:
        """The weights that it trains."""
        for role in self.trained:
            for layer in stage_layers(role):
                yield from layer.weights()

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The buffers of the weights that it trains."""
        return gradient_buffers(self.spec, self.roles)

    @property
    def optimizers(self) -> int:
        """Its number of optimizers: one for dense weights, and one for experts with a buffer of
        their own (optimizer/__init__.py, "if len(moe_param_groups) > 0")."""
        return len({buffer.experts for buffer in self.buffers} | {False})

    @property
    def sharding(self) -> Sharding:
        return Sharding.of_grid(self.spec.grid_of(self.roles[0].module))


def ddp_units(
    spec: Spec, grids: Iterable[GridPlan], roles: Iterable[ModuleRole]
) -> Iterator[DdpUnit]:
    """The modules of a rank, by the DDP that wraps them."""
    by_name = {grid.name: grid for grid in grids}
    for together in wrapped_together(spec, roles):
        grid = by_name[together[0].module.grid]
        yield DdpUnit(spec=spec, grid=grid, roles=together)


def step_end(spec: Spec, units: Iterable[DdpUnit], world: int) -> Iterator[Call]:
    """All calls of a rank after the passes of a step."""
    everyone = CallGroup(name=WORLD, members=world, purpose=Purpose.STEP)
    modules = len(spec.flows) + 1
    # Three float64 (builder/schedule.py), then in fp16 a flag, and norms (builder/optimizer.py).
    flags = [_FLAG] if spec.train.precision is Precision.FP16 else []
    for size in (24, *flags, _FLAG * modules) if world > 1 else ():
        yield Call(group=everyone, kind=CallKind.ALL_REDUCE, size=size)
    for unit in units:
        yield from _replica_calls(unit)
        yield from _finalization_calls(unit)
        yield from _norm_calls(unit)


def _replica_calls(unit: DdpUnit) -> Iterator[Call]:
    """Gradients are summed and split over replicas, and weights are gathered (ZeRO-1;
    distributed/param_and_grad_buffer.py, "def start_grad_sync", "def start_param_sync").

    Each optimizer of a module gathers all weights of the module after its update, unless the
    gathering overlaps the next forward pass (optimizer/distrib_optimizer.py,
    "def step_with_ready_grads"): with an optimizer for experts, megatron-core gathers
    everything twice.
    """
    groups = call_groups(unit.grid)
    gathers = 1 if unit.spec.train.ddp.overlap_param_gather else unit.optimizers
    for buffer in unit.buffers:
        group = groups[(EDP,)] if buffer.experts else groups[DP, CP]
        if group.members > 1:
            gradients, weights = buffer.elements * buffer.gradient, buffer.elements * buffer.weight
            yield Call(group=group, kind=CallKind.REDUCE_SCATTER, size=gradients)
            yield Call(group=group, kind=CallKind.ALL_GATHER, size=weights, times=gathers)


def _finalization_calls(unit: DdpUnit) -> Iterator[Call]:
    """The sums of finalisation (distributed/finalize_model_grads.py,
    "model_chunk.finish_grad_sync"): over tp the gradients of which each rank has a part, tied
    embeddings between their two stages, and the tokens of each expert for the router's bias."""
    spec, role = unit.spec, unit.roles[0]
    plan = role.plan
    if plan.role is not Role.LANGUAGE or not unit.trained:
        return
    groups = call_groups(unit.grid)
    gradient = FP32 if spec.train.ddp.grad_fp32 or spec.train.precision is Precision.FP32 else 2
    yield from _sum(groups[(TP,)], sum(_summed_over_tp(unit)) * gradient)
    if plan.tied and unit.grid.axis(PP) > 1 and (role.first or role.last):
        group = CallGroup(name=f"{unit.grid.name}.embedding", members=2, purpose=Purpose.PIPELINE)
        share = plan.outputs[1] // unit.sharding.tp * plan.widths.hidden
        yield from _sum(group, share * gradient)
    biases = sum(layer.expert_biases for layer in stage_layers(role))
    yield from _sum(groups[TP, DP, CP], biases * _FLAG)


def _summed_over_tp(unit: DdpUnit) -> Iterator[int]:
    """Elements of the weights whose gradients are summed over tp
    (distributed/finalize_model_grads.py, "if grad is None: continue params_sum").

    Every tp rank has them whole, and applies them to its own tokens or, a norm of queries or keys,
    to its own heads.
    """
    split = unit.roles[0].plan.split_sequence
    for weight in unit.weights():
        by_head = "_layernorm." in weight.name and weight.name.startswith("self_attention.")
        if weight.split is None and (
            by_head or (split and "position_embeddings" not in weight.name)
        ):
            yield weight.held(unit.sharding)


def _sum(group: CallGroup, size: int) -> Iterator[Call]:
    if group.members > 1 and size:
        yield Call(group=group, kind=CallKind.ALL_REDUCE, size=size)


def _norm_calls(unit: DdpUnit) -> Iterator[Call]:
    """One norm for each module, frozen or not (optimizer/clip_grads.py,
    "def get_grad_norm_fp32"). In fp16 each of its
    optimizers first asks whether a gradient overflowed (optimizer/optimizer.py,
    "torch.distributed.all_reduce( self")."""
    group = call_groups(unit.grid)[TP, CP, DP, PP]
    asks = unit.optimizers if unit.spec.train.precision is Precision.FP16 else 0
    if group.members > 1:
        yield Call(group=group, kind=CallKind.ALL_REDUCE, size=_FLAG, times=1 + asks)
