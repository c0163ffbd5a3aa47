"""The plan: what a spec comes to on every rank of its world, worked out without any of them."""

from collections.abc import Iterator
from enum import Enum

from attrs import evolve, field, frozen

from mimodsl.ir.axes import PP
from mimodsl.ir.kinds import Role
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels
from mimodsl.planner.bridges import BridgePlan, BridgeRole, bridge_groups, bridge_plans
from mimodsl.planner.grids import GridPlan, grid_plans
from mimodsl.planner.groups import GroupPlan, grid_groups
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.modules import module_plans
from mimodsl.planner.ranks import Members, Ranks
from mimodsl.planner.roles import ModuleRole, module_roles
from mimodsl.planner.schedule import StageSchedule


class Layout(Enum):
    """How grids lie to each other (models/mimo/config/role.py, "def _all_grids_colocated")."""

    SINGLE = "single"
    COLOCATED = "colocated"
    NON_COLOCATED = "non-colocated"


@frozen(kw_only=True)
class Crossing:
    """A rank's part in one bridge: its leader, and for a leader those that it deals with."""

    bridge: BridgePlan
    role: BridgeRole
    leader: int | None
    peers: range


@frozen(kw_only=True)
class RankPlan:
    """Everything about one rank.

    `coordinates` are by grid and declared view: `{"llm": {"base": {"tp": 1, …}, "expert": …}}`.
    """

    rank: int
    modules: tuple[ModuleRole, ...]
    coordinates: dict[str, dict[str, dict[str, int]]]
    groups: tuple[tuple[GroupPlan, Members], ...]
    crossings: tuple[Crossing, ...]
    schedule: StageSchedule

    def __repr__(self) -> str:
        return f"<RankPlan: rank {self.rank}, {', '.join(role.name for role in self.modules)}>"

    def module(self, name: str) -> ModuleRole | None:
        """The rank's part of a module; `None` where it has none."""
        return next((role for role in self.modules if role.name == name), None)


@frozen(kw_only=True)
class Summary:
    """A plan in numbers.

    `groups` counts the process groups that are made, under `group_names` names. `batch` is in
    samples and `tokens` in tokens of the language model, both a step. `bubble` is the share of a
    step in which a stage waits, when all passes take equally long.
    """

    world: int
    layout: str
    grids: int
    modules: int
    group_names: int
    groups: int
    stages: int
    microbatches: int
    batch: int
    tokens: int
    bubble: float


@frozen(kw_only=True)
class Plan:
    """A spec's layout, with its `modules` by name.

    What it stores is small, whatever the world's size; ranks are asked for.
    """

    spec: Spec
    world: int
    grids: tuple[GridPlan, ...]
    bridges: tuple[BridgePlan, ...]
    modules: dict[str, ModulePlan] = field(eq=False)

    def __repr__(self) -> str:
        return f"<Plan: {self.world} ranks, {self.layout.value}>"

    def __str__(self) -> str:
        """As `mimodsl plan` shows it."""
        from mimodsl.show.plan import text

        return text(self)

    def grid(self, name: str) -> GridPlan:
        """The grid of that name; `KeyError` without one."""
        return self._grids[name]

    @property
    def layout(self) -> Layout:
        if not self.bridges:
            return Layout.SINGLE
        together = all(bridge.colocated for bridge in self.bridges)
        return Layout.COLOCATED if together else Layout.NON_COLOCATED

    def groups(self) -> Iterator[GroupPlan]:
        """Every group by name, in the order in which all ranks make them."""
        for grid in self.grids:
            yield from grid_groups(grid)
        yield from bridge_groups(self.bridges)

    def rank(self, rank: int) -> RankPlan:
        """One rank's plan. `ValueError` outside the world."""
        if not 0 <= rank < self.world:
            raise ValueError(f"rank {rank} is not in the world of {self.world} ranks")
        roles = tuple(module_roles(self.modules, rank))
        members = ((group, group.of(rank)) for group in self.groups())
        parts = ((bridge, bridge.role(rank)) for bridge in self.bridges)
        return RankPlan(
            rank=rank,
            modules=roles,
            coordinates={
                grid.name: grid.coordinates(rank) for grid in self.grids if rank in grid.ranks
            },
            groups=tuple((group, own) for group, own in members if own is not None),
            crossings=tuple(
                Crossing(
                    bridge=bridge, role=role, leader=bridge.leader(rank), peers=bridge.peers(rank)
                )
                for bridge, role in parts
                if role is not None
            ),
            schedule=self.schedule(self._stage(roles)),
        )

    @property
    def stages(self) -> int:
        """Stages of the pipeline over all modules: the encoders', then the language model's
        (MultiModulePipelineCommunicator.compute_total_pipeline_stages)."""
        if self.layout is Layout.COLOCATED:
            return 1
        return self._encoder_stages + self._grids[self.spec.language.grid].axis(PP)

    def schedule(self, stage: int) -> StageSchedule:
        """What the ranks of one stage of that pipeline do in a step."""
        return StageSchedule(
            stage=stage, stages=self.stages, microbatches=self.spec.schedule.microbatches
        )

    def summary(self) -> Summary:
        """The plan in numbers."""
        schedule = self.spec.schedule
        counts = [group.count for group in self.groups()]
        return Summary(
            world=self.world,
            layout=self.layout.value,
            grids=len(self.grids),
            modules=len(self.spec.modules),
            group_names=len(counts),
            groups=sum(counts),
            stages=self.stages,
            microbatches=schedule.microbatches,
            batch=self.spec.batch,
            tokens=self.spec.batch * schedule.sequence,
            bubble=self.schedule(0).bubble,
        )

    def stage(self, stage: int) -> Iterator[tuple[GridPlan, Ranks]]:
        """The ranks of one stage of that pipeline, by grid."""
        for grid in self.grids:
            own = stage - self._first_stage(grid)
            if 0 <= own < grid.axis(PP):
                yield grid, grid.stage(own)

    def alike(self) -> tuple[tuple[Ranks, ...], ...]:
        """All ranks of the world, by role: those that build the same. A role has the ranks of one
        pipeline stage or more."""
        found: dict[tuple[object, ...], list[Ranks]] = {}
        for grid in self._deepest_grids():
            for stage in map(grid.stage, range(grid.axis(PP))):
                roles = module_roles(self.modules, stage[0])
                found.setdefault(tuple(role.part for role in roles), []).append(stage)
        return tuple(map(tuple, found.values()))

    def representatives(self) -> tuple[int, ...]:
        """One rank of every role: each rank of the world builds what one of these builds."""
        return tuple(stages[0][0] for stages in self.alike())

    def _deepest_grids(self) -> Iterator[GridPlan]:
        """Of the grids on every rank span, which share it whole, the one with most stages."""
        for span in dict.fromkeys(grid.ranks for grid in self.grids):
            yield max(
                (grid for grid in self.grids if grid.ranks == span),
                key=lambda grid: grid.axis(PP),
            )

    @property
    def _grids(self) -> dict[str, GridPlan]:
        return {grid.name: grid for grid in self.grids}

    @property
    def _encoder_stages(self) -> int:
        return max((bridge.source.axis(PP) for bridge in self.bridges), default=0)

    def _stage(self, roles: tuple[ModuleRole, ...]) -> int:
        """Of a rank with several modules the first one's stage counts
        (MultiModulePipelineCommunicator.current_stage)."""
        if not roles:
            return 0
        first = min(roles, key=lambda role: role.module.role is Role.LANGUAGE)
        return self._first_stage(self._grids[first.module.grid]) + first.stage

    def _first_stage(self, grid: GridPlan) -> int:
        last = self.layout is Layout.NON_COLOCATED and grid.name == self.spec.language.grid
        return self._encoder_stages if last else 0


def plan(spec: Spec) -> Plan:
    """The plan of a spec that passes `mimodsl.check`.

    Raises `ValueError` where a view doesn't cover its grid's ranks.
    """
    grids = grid_plans(spec)
    modules = module_plans(spec, {grid.name: grid for grid in grids})
    return Plan(
        spec=spec,
        world=spec.world,
        grids=grids,
        bridges=bridge_plans(spec.flows, modules),
        modules=modules,
    )


def with_kernels(planned: Plan, kernels: Kernels) -> Plan:
    """The plan of the same spec with a kernel set in place of its own, usually of `auto`."""
    train = planned.spec.train
    if train.kernels is kernels:
        return planned
    return plan(evolve(planned.spec, train=evolve(train, kernels=kernels)))
