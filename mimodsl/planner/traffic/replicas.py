"""What the end of a step moves: gradients and weights over replicas, and a few small sums."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Precision
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.layers import Cut, MoeLayer, Weight, stage_layers
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.traffic.call import WORLD, Call, CallKind, Line, Purpose, lines_of

_FLAG = 4
"""Bytes of a norm, a flag or a count of tokens by expert, all in 32 bits."""


@frozen(kw_only=True)
class Wrapped:
    """What one DDP holds on a rank: an encoder with its projector, or the language model."""

    spec: Spec
    grid: GridPlan
    roles: tuple[ModuleRole, ...]

    @property
    def trained(self) -> tuple[ModuleRole, ...]:
        return tuple(role for role in self.roles if not role.module.frozen)

    def weights(self) -> Iterator[Weight]:
        """What it trains."""
        for role in self.trained:
            for layer in stage_layers(self.spec, role):
                yield from layer.weights()

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What it trains, as it lies in memory."""
        return gradient_buffers(self.spec, self.roles)

    @property
    def optimizers(self) -> int:
        """One for dense weights, and one for experts (optimizer/__init__.py:1195)."""
        return len({one.experts for one in self.buffers} | {False})

    @property
    def cut(self) -> Cut:
        return Cut.of(self.spec.grid_of(self.roles[0].module))


def wrapped(
    spec: Spec, grids: Iterable[GridPlan], roles: Iterable[ModuleRole]
) -> Iterator[Wrapped]:
    """What a rank holds, by DDP."""
    by_name = {grid.name: grid for grid in grids}
    held: dict[str, list[ModuleRole]] = {}
    for role in roles:
        held.setdefault(_modality(spec, role.module), []).append(role)
    for together in held.values():
        grid = by_name[together[0].module.grid]
        yield Wrapped(spec=spec, grid=grid, roles=tuple(together))


def _modality(spec: Spec, module: Module) -> str:
    flow = spec.flow_through(module.name)
    return module.name if flow is None else flow.encoder


def step_end(spec: Spec, held: Iterable[Wrapped], world: int) -> Iterator[Call]:
    """All calls of a rank after its passes."""
    everyone = Line(group=WORLD, members=world, purpose=Purpose.STEP)
    modules = len(spec.flows) + 1
    # Three float64 (build/schedule.py), then in fp16 a flag, and the norms (build/optimizer.py).
    flags = [_FLAG] if spec.train.precision is Precision.FP16 else []
    for size in (24, *flags, _FLAG * modules) if world > 1 else ():
        yield Call(line=everyone, kind=CallKind.ALL_REDUCE, size=size)
    for one in held:
        yield from _reduced(one)
        yield from _finalized(one)
        yield from _norms(one)


def _reduced(held: Wrapped) -> Iterator[Call]:
    """Gradients are summed and split over replicas, weights gathered (ZeRO-1; param_and_grad_
    buffer.py:515,712).

    Unless it overlaps the next forward pass, each of a module's optimizers, for dense weights and
    for experts, gathers all of the module's weights when it has made its step (distrib_optimizer.
    py:3133): with experts of their own, megatron-core 0.19.2 gathers everything twice.
    """
    lines = lines_of(held.grid)
    found = held.buffers
    gathers = 1 if held.spec.train.ddp.overlap_param_gather else held.optimizers
    for one in found:
        line = lines[("edp",)] if one.experts else lines["dp", "cp"]
        if line.members > 1:
            gradients, weights = one.elements * one.gradient, one.elements * one.weight
            yield Call(line=line, kind=CallKind.REDUCE_SCATTER, size=gradients)
            yield Call(line=line, kind=CallKind.ALL_GATHER, size=weights, times=gathers)


def _finalized(held: Wrapped) -> Iterator[Call]:
    """Finalisation's own sums (distributed/finalize_model_grads.py:626): over tp what a split
    sequence leaves each rank a part of, tied embeddings between their two stages, and tokens by
    expert for the bias."""
    spec, role = held.spec, held.roles[0]
    kind = role.module.kind
    if not isinstance(kind, LanguageModel) or not held.trained:
        return
    lines = lines_of(held.grid)
    gradient = 4 if spec.train.ddp.grad_fp32 or spec.train.precision is Precision.FP32 else 2
    yield from _sum(lines[("tp",)], sum(_shared(held)) * gradient)
    if kind.tie_embeddings and held.grid.axis("pp") > 1 and (role.first or role.last):
        line = Line(group=f"{held.grid.name}.embedding", members=2, purpose=Purpose.PIPELINE)
        share = kind.vocabulary // held.cut.tp * kind.hidden
        yield from _sum(line, share * gradient)
    routers = [one for one in stage_layers(spec, role) if isinstance(one, MoeLayer)]
    biased = [one.moe for one in routers if one.moe.expert_bias]
    yield from _sum(lines["tp", "dp", "cp"], sum(moe.experts for moe in biased) * _FLAG)


def _shared(held: Wrapped) -> Iterator[int]:
    """Elements of the weights whose gradients are summed over tp: those that every tp rank has and
    applies to its tokens alone; and of norms by head, which see its heads alone (:457)."""
    split = held.spec.splits_sequence(held.roles[0].module)
    for weight in held.weights():
        by_head = "_layernorm." in weight.name and weight.name.startswith("self_attention.")
        if weight.split is None and (
            by_head or (split and "position_embeddings" not in weight.name)
        ):
            yield weight.held(held.cut)


def _sum(line: Line, size: int) -> Iterator[Call]:
    if line.members > 1 and size:
        yield Call(line=line, kind=CallKind.ALL_REDUCE, size=size)


def _norms(held: Wrapped) -> Iterator[Call]:
    """One norm a module (optimizer/clip_grads.py:132), frozen or not; in fp16 each of its
    optimizers asks first whether a gradient overflowed (optimizer/optimizer.py:729)."""
    line = lines_of(held.grid)["tp", "cp", "dp", "pp"]
    asks = held.optimizers if held.spec.train.precision is Precision.FP16 else 0
    if line.members > 1:
        yield Call(line=line, kind=CallKind.ALL_REDUCE, size=_FLAG, times=1 + asks)
