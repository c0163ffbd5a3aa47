"""The collectives of a pass through the model and of the end of a step, by process group.

The ranks of a stage run the same layers in the same order. So one collective per group represents
all calls of a pass over that group. The proof shows that all members of the group make the call.
"""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.checker.proof.program import Action, Collective, Operation, ProcessGroup
from mimodsl.checker.proof.small_world import SmallWorld
from mimodsl.ir import Dispatcher, Module, Moe
from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, PP, TP
from mimodsl.ir.kinds import Role
from mimodsl.ir.train import Precision
from mimodsl.planner.bridges import BridgePlan, Direction
from mimodsl.planner.families import family_of
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan

_EXPERT_VIEW = 1


@frozen(kw_only=True, eq=False)
class MegatronModule:
    """A module of megatron-core on its grid: an encoder with its projector, or the language model.

    `bridge` leads from an encoder to the language model; `None` for the language model.
    """

    module: Module
    projector: Module | None
    grid: GridPlan
    bridge: BridgePlan | None

    @property
    def trains(self) -> bool:
        return not self.module.frozen or (self.projector is not None and not self.projector.frozen)


def megatron_modules(planned: Plan) -> tuple[MegatronModule, ...]:
    """Encoders in the order of the flows, then the language model, as in `MimoModel`."""
    spec = planned.spec
    encoders = [
        MegatronModule(
            module=spec.module(bridge.flow.encoder),
            projector=spec.module(bridge.flow.projector) if bridge.flow.projector else None,
            grid=bridge.source,
            bridge=bridge,
        )
        for bridge in planned.bridges
    ]
    language = spec.language
    grid = planned.grid(language.grid)
    return (
        *encoders,
        MegatronModule(module=language, projector=None, grid=grid, bridge=None),
    )


def forward(world: SmallWorld, units: Iterable[MegatronModule], rank: int) -> tuple[Operation, ...]:
    """The collectives of a rank in a forward pass, one per group, in the order of first use."""
    used: dict[ProcessGroup, None] = {}
    for unit in units:
        for group in _forward(world, unit, rank):
            used.setdefault(group)
    return tuple(Collective(group) for group in used if len(group.members) > 1)


def backward(
    world: SmallWorld, units: Iterable[MegatronModule], rank: int
) -> tuple[Operation, ...]:
    """The collectives of a rank in a backward pass, in the reverse order of modules and groups."""
    used: dict[ProcessGroup, None] = {}
    for unit in reversed(list(units)):
        for group in reversed(list(_backward(world, unit, rank))):
            used.setdefault(group)
    return tuple(Collective(group) for group in used if len(group.members) > 1)


def _forward(world: SmallWorld, unit: MegatronModule, rank: int) -> Iterator[ProcessGroup]:
    if unit.module.role is Role.LANGUAGE:
        yield from _language(world, unit, rank, token_counts=True)
    else:
        yield world.along(unit.grid, (TP,))[rank]
        yield from _gather(world, unit, rank, Direction.FAN_IN)


def _backward(world: SmallWorld, unit: MegatronModule, rank: int) -> Iterator[ProcessGroup]:
    if unit.module.role is Role.LANGUAGE:
        yield from _language(world, unit, rank, token_counts=False)
    elif unit.trains:
        yield world.along(unit.grid, (TP,))[rank]
        yield from _gather(world, unit, rank, Direction.FAN_OUT)


def _gather(
    world: SmallWorld, unit: MegatronModule, rank: int, direction: Direction
) -> Iterator[ProcessGroup]:
    """Fan-in gathers in the forward pass, fan-out in the backward pass
    (models/mimo/comm/colocated_communicator.py, "def forward … BridgeDirection.FAN_IN")."""
    bridge = unit.bridge
    if bridge is not None and bridge.colocated and bridge.direction is direction:
        yield world.gather(bridge)[rank]


def _language(
    world: SmallWorld, unit: MegatronModule, rank: int, *, token_counts: bool
) -> Iterator[ProcessGroup]:
    """Embeddings, layers and the loss use tp; attention and Mamba also use cp."""
    yield world.along(unit.grid, (TP,))[rank]
    symbols, moe = _layers(unit, rank)
    if symbols & {"*", "M"}:
        yield world.along(unit.grid, (CP,))[rank]
    if moe is not None and "E" in symbols:
        for axes in _expert_axes(moe, token_counts=token_counts):
            yield world.along(unit.grid, axes, _EXPERT_VIEW)[rank]


def _expert_axes(moe: Moe, *, token_counts: bool) -> Iterator[tuple[str, ...]]:
    """The axes over which token counts, tokens and their shards are exchanged
    (transformer/moe/token_dispatcher.py, "num_local_tokens_per_expert, group")."""
    if moe.dispatcher is not Dispatcher.ALLTOALL:
        yield (ETP, EP)
        return
    if token_counts:
        yield (ETP, EP)
    yield (EP,)
    yield (ETP,)


def _layers(unit: MegatronModule, rank: int) -> tuple[set[str], Moe | None]:
    """The pattern symbols of the layers on the stage of a rank, and the experts of the model."""
    kind, stages = unit.module.kind, unit.grid.axis(PP)
    if kind.role is not Role.LANGUAGE:
        return set(), None
    stage = family_of(kind).stage(kind, unit.grid.base.coordinates(rank)[PP], stages)
    return set(stage.symbols), kind.used.moe


def reductions(
    world: SmallWorld, units: Iterable[MegatronModule], rank: int
) -> Iterator[Operation]:
    """The gradient reductions of DDP over replicas; they may overlap the last backward pass."""
    for unit in units:
        if unit.trains:
            yield Collective(world.along(unit.grid, (DP, CP))[rank], unit.module.name)
            if _has_experts(unit, rank):
                group = world.along(unit.grid, (EDP,), _EXPERT_VIEW)[rank]
                yield Collective(group, f"experts of {unit.module.name}")


def _has_experts(unit: MegatronModule, rank: int) -> bool:
    symbols, moe = _layers(unit, rank)
    return moe is not None and "E" in symbols


def finish(world: SmallWorld, units: tuple[MegatronModule, ...], rank: int) -> tuple[Action, ...]:
    """The actions of a rank after its passes (builder/schedule.py), and the optimizer's step."""
    everyone = Collective(world.everyone)
    ddp = world.plan.spec.train.ddp
    over_replicas = tuple(reductions(world, units, rank))
    by_key = sorted(units, key=_megatron_key)
    norms = (
        Collective(world.along(unit.grid, (TP, CP, DP, PP))[rank], unit.module.name)
        for unit in by_key
    )
    return (
        Action(
            "gradient reduction",
            (
                *(() if ddp.overlap_grad_reduce else over_replicas),
                *(operation for unit in units for operation in _finalized(world, unit, rank)),
            ),
        ),
        Action("the sum of losses", (everyone,)),
        *_search_for_overflows(world, everyone),
        Action("the gradient norm", (*norms, everyone)),
        Action("the optimizer's step", over_replicas),
    )


def _search_for_overflows(world: SmallWorld, everyone: Collective) -> Iterator[Action]:
    if world.plan.spec.train.precision is Precision.FP16:
        yield Action("the search for overflows", (everyone,))


def _megatron_key(unit: MegatronModule) -> str:
    """The optimizer reduces norms in the order of these keys (models/mimo/optimizer.py,
    "for i, (name, info) in enumerate")."""
    return "language" if unit.module.role is Role.LANGUAGE else unit.module.name


def _finalized(world: SmallWorld, unit: MegatronModule, rank: int) -> Iterator[Operation]:
    """Other reductions at the end of a step, in order (distributed/finalize_model_grads.py,
    "model_chunk.finish_grad_sync")."""
    kind = unit.module.kind
    if unit.module.role is not Role.LANGUAGE or not unit.trains:
        return
    if world.plan.spec.splits_sequence(unit.module):
        yield Collective(world.along(unit.grid, (TP,))[rank], "norms and routers")
    pp = unit.grid.axis(PP)
    end_stages = (0, pp - 1) if pp > 1 else ()
    is_end = unit.grid.base.coordinates(rank)[PP] in end_stages
    if family_of(kind).ties_embeddings(kind) and is_end:
        yield Collective(world.embedding(unit.grid)[rank], "embeddings")
    moe = _layers(unit, rank)[1]
    if moe is not None and moe.expert_bias and _has_experts(unit, rank):
        yield Collective(world.along(unit.grid, (TP, DP, CP))[rank], "expert bias")
