"""What the end of a step moves: gradients and weights over replicas, and a few small sums."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Precision
from mimodsl.planner.calls import WORLD, Call, CallGroup, CallKind, Purpose, call_groups
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.layers import Weight
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Sharding
from mimodsl.planner.sizes import FP32
from mimodsl.planner.stack import stage_layers

_FLAG = 4
"""Bytes of a norm, a flag or a count of tokens by expert, all in 32 bits."""


@frozen(kw_only=True)
class DdpUnit:
    """The modules that one DDP wraps on a rank: an encoder with its projector, or the language
    model."""

    spec: Spec
    grid: GridPlan
    roles: tuple[ModuleRole, ...]

    @property
    def trained(self) -> tuple[ModuleRole, ...]:
        return tuple(role for role in self.roles if not role.module.frozen)

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
        """One for dense weights, and one for experts (optimizer/__init__.py:1195)."""
        return len({buffer.experts for buffer in self.buffers} | {False})

    @property
    def sharding(self) -> Sharding:
        return Sharding.of_grid(self.spec.grid_of(self.roles[0].module))


def ddp_units(
    spec: Spec, grids: Iterable[GridPlan], roles: Iterable[ModuleRole]
) -> Iterator[DdpUnit]:
    """The modules of a rank, by the DDP that wraps them."""
    by_name = {grid.name: grid for grid in grids}
    by_modality: dict[str, list[ModuleRole]] = {}
    for role in roles:
        by_modality.setdefault(_modality(spec, role.module), []).append(role)
    for together in by_modality.values():
        grid = by_name[together[0].module.grid]
        yield DdpUnit(spec=spec, grid=grid, roles=tuple(together))


def _modality(spec: Spec, module: Module) -> str:
    flow = spec.flow_through(module.name)
    return module.name if flow is None else flow.encoder


def step_end(spec: Spec, units: Iterable[DdpUnit], world: int) -> Iterator[Call]:
    """All calls of a rank after its passes."""
    everyone = CallGroup(name=WORLD, members=world, purpose=Purpose.STEP)
    modules = len(spec.flows) + 1
    # Three float64 (build/schedule.py), then in fp16 a flag, and the norms (build/optimizer.py).
    flags = [_FLAG] if spec.train.precision is Precision.FP16 else []
    for size in (24, *flags, _FLAG * modules) if world > 1 else ():
        yield Call(group=everyone, kind=CallKind.ALL_REDUCE, size=size)
    for unit in units:
        yield from _reduced(unit)
        yield from _finalized(unit)
        yield from _norms(unit)


def _reduced(unit: DdpUnit) -> Iterator[Call]:
    """Gradients are summed and split over replicas, weights gathered (ZeRO-1; param_and_grad_
    buffer.py:515,712).

    Unless it overlaps the next forward pass, each of a module's optimizers, for dense weights and
    for experts, gathers all of the module's weights when it has made its step (distrib_optimizer.
    py:3133): with experts of their own, megatron-core 0.19.2 gathers everything twice.
    """
    groups = call_groups(unit.grid)
    gathers = 1 if unit.spec.train.ddp.overlap_param_gather else unit.optimizers
    for buffer in unit.buffers:
        group = groups[("edp",)] if buffer.experts else groups["dp", "cp"]
        if group.members > 1:
            gradients, weights = buffer.elements * buffer.gradient, buffer.elements * buffer.weight
            yield Call(group=group, kind=CallKind.REDUCE_SCATTER, size=gradients)
            yield Call(group=group, kind=CallKind.ALL_GATHER, size=weights, times=gathers)


def _finalized(unit: DdpUnit) -> Iterator[Call]:
    """Finalisation's own sums (distributed/finalize_model_grads.py:626): over tp what a split
    sequence leaves each rank a part of, tied embeddings between their two stages, and tokens by
    expert for the bias."""
    spec, role = unit.spec, unit.roles[0]
    kind = role.module.kind
    if not isinstance(kind, LanguageModel) or not unit.trained:
        return
    groups = call_groups(unit.grid)
    gradient = FP32 if spec.train.ddp.grad_fp32 or spec.train.precision is Precision.FP32 else 2
    yield from _sum(groups[("tp",)], sum(_shared(unit)) * gradient)
    if role.plan.tied and unit.grid.axis("pp") > 1 and (role.first or role.last):
        group = CallGroup(name=f"{unit.grid.name}.embedding", members=2, purpose=Purpose.PIPELINE)
        share = kind.vocabulary // unit.sharding.tp * kind.hidden
        yield from _sum(group, share * gradient)
    biases = sum(layer.expert_biases for layer in stage_layers(role))
    yield from _sum(groups["tp", "dp", "cp"], biases * _FLAG)


def _shared(unit: DdpUnit) -> Iterator[int]:
    """Elements of the weights whose gradients are summed over tp: those that every tp rank has and
    applies to its tokens alone; and of norms by head, which see its heads alone (:457)."""
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


def _norms(unit: DdpUnit) -> Iterator[Call]:
    """One norm a module (optimizer/clip_grads.py:132), frozen or not; in fp16 each of its
    optimizers asks first whether a gradient overflowed (optimizer/optimizer.py:729)."""
    group = call_groups(unit.grid)["tp", "cp", "dp", "pp"]
    asks = unit.optimizers if unit.spec.train.precision is Precision.FP16 else 0
    if group.members > 1:
        yield Call(group=group, kind=CallKind.ALL_REDUCE, size=_FLAG, times=1 + asks)
