"""The work of a rank in one microbatch, by module, and of the ranks of each pipeline stage."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.work.count import Flops
from mimodsl.planner.work.module import ModuleWork, module_work, whole_work


@frozen(kw_only=True)
class StageSpan:
    """Ranks that run one stage together, and the work of each of them in a microbatch."""

    stage: int
    ranks: Ranks
    modules: tuple[ModuleWork, ...]

    @property
    def flops(self) -> Flops:
        return sum((module.flops for module in self.modules), Flops())


def rank_work(planned: Plan, rank: int) -> tuple[ModuleWork, ...]:
    """A rank's work in one microbatch, by module. `ValueError` outside the world."""
    return tuple(module_work(role) for role in planned.rank(rank).modules)


def stage_spans(planned: Plan) -> Iterator[StageSpan]:
    """The ranks of the world, by stage and, where several encoders share the first, by grid."""
    for stage in range(planned.stages):
        # Two grids on the same ranks have different objects for them.
        spans = {(ranks.start, ranks.last): ranks for _, ranks in planned.stage(stage)}
        for ranks in spans.values():
            yield StageSpan(stage=stage, ranks=ranks, modules=rank_work(planned, ranks[0]))


def model_flops(planned: Plan) -> int:
    """The operations that the model needs for a step's global batch, whatever the layout."""
    flops = sum(whole_work(module).flops.model for module in planned.modules.values())
    return flops * planned.spec.schedule.microbatches
