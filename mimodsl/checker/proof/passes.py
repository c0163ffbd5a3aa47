"""Collectives within a pass through the model and at the end of a step, by the groups they use.

A stage's ranks run the same layers in the same order, so that a group stands here once for all the
calls of a pass over it. What is left to show is that everyone whom such a call waits for runs it.
"""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.checker.proof.cut import Cut
from mimodsl.checker.proof.program import Action, Collective, Group, Operation
from mimodsl.ir import Dispatcher, Module, Moe
from mimodsl.ir.kinds import Role
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.train import Precision
from mimodsl.planner.bridges import BridgePlan, Direction
from mimodsl.planner.families import family_of
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan

_EXPERT_VIEW = 1


@frozen(kw_only=True)
class Part:
    """What megatron-core knows as a module, on a grid: an encoder with its projector, or the
    language model. `bridge` is an encoder's."""

    module: Module
    projector: Module | None
    grid: GridPlan
    bridge: BridgePlan | None

    @property
    def trains(self) -> bool:
        return not self.module.frozen or (self.projector is not None and not self.projector.frozen)


def parts(planned: Plan) -> tuple[Part, ...]:
    """Encoders in the order of the flows, then the language model, as `MimoModel` has them."""
    spec = planned.spec
    encoders = [
        Part(
            module=spec.module(bridge.flow.encoder),
            projector=spec.module(bridge.flow.projector) if bridge.flow.projector else None,
            grid=bridge.source,
            bridge=bridge,
        )
        for bridge in planned.bridges
    ]
    language = spec.language
    grid = planned.grid(language.grid)
    return (*encoders, Part(module=language, projector=None, grid=grid, bridge=None))


def forward(cut: Cut, held: Iterable[Part], rank: int) -> tuple[Operation, ...]:
    """The groups that a rank calls on in a forward pass, in the order of their first use."""
    used: dict[Group, None] = {}
    for part in held:
        for group in _forward(cut, part, rank):
            used.setdefault(group)
    return tuple(Collective(group) for group in used if len(group.members) > 1)


def backward(cut: Cut, held: Iterable[Part], rank: int) -> tuple[Operation, ...]:
    """The same in a backward pass: the way back."""
    used: dict[Group, None] = {}
    for part in reversed(list(held)):
        for group in reversed(list(_backward(cut, part, rank))):
            used.setdefault(group)
    return tuple(Collective(group) for group in used if len(group.members) > 1)


def _forward(cut: Cut, part: Part, rank: int) -> Iterator[Group]:
    if part.module.role is Role.LANGUAGE:
        yield from _language(cut, part, rank, counts=True)
    else:
        yield cut.along(part.grid, ("tp",))[rank]
        yield from _gather(cut, part, rank, Direction.FAN_IN)


def _backward(cut: Cut, part: Part, rank: int) -> Iterator[Group]:
    if part.module.role is Role.LANGUAGE:
        yield from _language(cut, part, rank, counts=False)
    elif part.trains:
        yield cut.along(part.grid, ("tp",))[rank]
        yield from _gather(cut, part, rank, Direction.FAN_OUT)


def _gather(cut: Cut, part: Part, rank: int, direction: Direction) -> Iterator[Group]:
    """One direction gathers and the other cuts (models/mimo/comm/colocated_communicator.py:272)."""
    bridge = part.bridge
    if bridge is not None and bridge.colocated and bridge.direction is direction:
        yield cut.gather(bridge)[rank]


def _language(cut: Cut, part: Part, rank: int, *, counts: bool) -> Iterator[Group]:
    """Embeddings, layers and the loss use tp; attention and Mamba use cp, too."""
    yield cut.along(part.grid, ("tp",))[rank]
    symbols, moe = _layers(part, rank)
    if symbols & {"*", "M"}:
        yield cut.along(part.grid, ("cp",))[rank]
    if moe is not None and "E" in symbols:
        for axes in _expert_axes(moe, counts=counts):
            yield cut.along(part.grid, axes, _EXPERT_VIEW)[rank]


def _expert_axes(moe: Moe, *, counts: bool) -> Iterator[tuple[str, ...]]:
    """Token counts, tokens and their shards (transformer/moe/token_dispatcher.py:566-858)."""
    if moe.dispatcher is not Dispatcher.ALLTOALL:
        yield ("etp", "ep")
        return
    if counts:
        yield ("etp", "ep")
    yield ("ep",)
    yield ("etp",)


def _layers(part: Part, rank: int) -> tuple[set[str], Moe | None]:
    """The kinds of layers on a rank's stage, by the symbols of patterns."""
    kind, stages = part.module.kind, part.grid.axis("pp")
    if not isinstance(kind, LanguageModel):
        return set(), None
    stage = family_of(kind).stage(kind, part.grid.base.coordinates(rank)["pp"], stages)
    return set(stage.symbols), kind.used.moe


def reductions(cut: Cut, held: Iterable[Part], rank: int) -> Iterator[Operation]:
    """Gradients over replicas: DDP's part, which may run within the last backward pass."""
    for part in held:
        if part.trains:
            yield Collective(cut.along(part.grid, ("dp", "cp"))[rank], part.module.name)
            if _has_experts(part, rank):
                group = cut.along(part.grid, ("edp",), _EXPERT_VIEW)[rank]
                yield Collective(group, f"experts of {part.module.name}")


def _has_experts(part: Part, rank: int) -> bool:
    symbols, moe = _layers(part, rank)
    return moe is not None and "E" in symbols


def finish(cut: Cut, held: tuple[Part, ...], rank: int) -> tuple[Action, ...]:
    """What a rank does after its passes: build/schedule.py, then the optimizer's step."""
    world = Collective(cut.world)
    ddp = cut.plan.spec.train.ddp
    over_replicas = tuple(reductions(cut, held, rank))
    by_key = sorted(held, key=_megatron_key)
    norms = (
        Collective(cut.along(one.grid, ("tp", "cp", "dp", "pp"))[rank], one.module.name)
        for one in by_key
    )
    return (
        Action(
            "gradient reduction",
            (
                *(() if ddp.overlap_grad_reduce else over_replicas),
                *(operation for part in held for operation in _finalized(cut, part, rank)),
            ),
        ),
        Action("the sum of losses", (world,)),
        *_search(cut, world),
        Action("the gradient norm", (*norms, world)),
        Action("the optimizer's step", over_replicas),
    )


def _search(cut: Cut, world: Collective) -> Iterator[Action]:
    if cut.plan.spec.train.precision is Precision.FP16:
        yield Action("the search for overflows", (world,))


def _megatron_key(part: Part) -> str:
    """The optimizer takes norms in the order of these (models/mimo/optimizer.py:67)."""
    return "language" if part.module.role is Role.LANGUAGE else part.module.name


def _finalized(cut: Cut, part: Part, rank: int) -> Iterator[Operation]:
    """Finalisation's own reductions, in its order (distributed/finalize_model_grads.py:626)."""
    kind = part.module.kind
    if not isinstance(kind, LanguageModel) or not part.trains:
        return
    if cut.plan.spec.splits_sequence(part.module):
        yield Collective(cut.along(part.grid, ("tp",))[rank], "norms and routers")
    pp = part.grid.axis("pp")
    ends = (0, pp - 1) if pp > 1 else ()
    if family_of(kind).ties_embeddings(kind) and part.grid.base.coordinates(rank)["pp"] in ends:
        yield Collective(cut.embedding(part.grid)[rank], "embeddings")
    moe = _layers(part, rank)[1]
    if moe is not None and moe.expert_bias and _has_experts(part, rank):
        yield Collective(cut.along(part.grid, ("tp", "dp", "cp"))[rank], "expert bias")
