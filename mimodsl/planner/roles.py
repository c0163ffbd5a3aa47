"""Roles: what a rank holds of each module, and which samples it works on."""

from collections.abc import Iterator, Mapping

from attrs import frozen

from mimodsl.ir.axes import DP, EP, PP
from mimodsl.ir.module import Module
from mimodsl.planner.families import Stage, family_of
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.share import Share, rank_share


@frozen(kw_only=True)
class ModuleRole:
    """One rank's part of one module.

    It has the layers of one `place` in the module's pipeline. Its routed `experts` are the same in
    every layer that has any. `replica` is its data-parallel index: it works on `samples_each`
    samples of every microbatch.
    """

    plan: ModulePlan
    place: Stage
    experts: range
    replica: int
    replicas: int
    samples_each: int

    @property
    def module(self) -> Module:
        return self.plan.module

    @property
    def name(self) -> str:
        return self.module.name

    @property
    def stage(self) -> int:
        return self.place.index

    @property
    def stages(self) -> int:
        return self.place.count

    @property
    def layers(self) -> range:
        """Its layers by their index in the whole module."""
        return self.place.layers

    @property
    def pattern(self) -> str:
        """The symbols of its layers, where the spec writes some."""
        return self.place.pattern

    @property
    def first(self) -> bool:
        """Whether this is the module's first stage: the one with the embeddings."""
        return self.place.first

    @property
    def last(self) -> bool:
        """Whether this is the module's last stage: the one with the output."""
        return self.place.last

    @property
    def share(self) -> Share:
        """What it works on in one microbatch."""
        return rank_share(self.plan, self.samples_each, first=self.first)

    @property
    def part(self) -> tuple[str, bool, bool, str]:
        """What is built of the module: the same for two ranks whose layers are alike."""
        return self.name, self.first, self.last, self.place.symbols

    def samples(self, microbatch: int) -> range:
        """Its samples of a microbatch, by their index in the step's global batch.

        Microbatches lie one after the other, and each is dealt in order to the data-parallel ranks,
        of encoders and of the language model alike: the order in which bridges join and split.
        """
        first = (microbatch * self.replicas + self.replica) * self.samples_each
        return range(first, first + self.samples_each)


def module_roles(plans: Mapping[str, ModulePlan], rank: int) -> Iterator[ModuleRole]:
    """What a rank holds, in order of the spec's modules."""
    for plan in plans.values():
        if rank in plan.grid.ranks:
            yield _role(plan, rank)


def _role(plan: ModulePlan, rank: int) -> ModuleRole:
    at, replicas = plan.grid.base.coordinates(rank), plan.grid.axis(DP)
    stage = family_of(plan.kind).stage(plan.kind, at[PP], plan.grid.axis(PP))
    return ModuleRole(
        plan=plan,
        place=stage,
        experts=_experts(plan, stage, rank),
        replica=at[DP],
        replicas=replicas,
        samples_each=plan.samples // replicas,
    )


def _experts(plan: ModulePlan, stage: Stage, rank: int) -> range:
    """As transformer/moe/moe_layer.py, "local_expert_indices_offset = ep_rank" divides them;
    without an expert view, all are here."""
    moe, grid = plan.moe, plan.grid
    if moe is None or "E" not in stage.symbols:
        return range(0)
    if grid.expert_implied:
        return range(moe.experts)
    each = moe.experts // grid.expert.axis(EP)
    first = grid.expert.coordinates(rank)[EP] * each
    return range(first, first + each)
