"""What a whole step takes: operations by stage and rank, how long stages wait, and the total."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.timing import StageTimes, by_stage, step_time
from mimodsl.planner.traffic.step import RankTraffic, rank_traffic
from mimodsl.planner.work.count import Flops
from mimodsl.planner.work.module import ModuleWork, module_work, whole_work


@frozen(kw_only=True)
class StageWork:
    """What each of the ranks of one pipeline stage on one rank span does in a step.

    All compute the same. `rank` is the one with the most traffic, a leader where there is a bridge,
    and `traffic` is its. `bubble` is the share of the step in which they wait, passes taking time
    in proportion to their operations.
    """

    stage: int
    ranks: Ranks
    rank: int
    modules: tuple[ModuleWork, ...]
    microbatches: int
    traffic: RankTraffic
    bubble: float

    @property
    def flops(self) -> Flops:
        """Of a rank in a step."""
        each = sum((module.flops for module in self.modules), Flops())
        return each.times(self.microbatches)


@frozen(kw_only=True)
class StepWork:
    """A step of the whole world.

    `model` counts the operations that the model needs for the global batch, whatever the layout:
    divided by the time of a step and the peak of all ranks it is the model FLOPs utilization.
    """

    model: int
    tokens: int
    stages: tuple[StageWork, ...]

    @property
    def model_per_token(self) -> float:
        return self.model / self.tokens

    @property
    def hardware(self) -> int:
        """What all ranks compute together."""
        return sum(stage.flops.hardware * len(stage.ranks) for stage in self.stages)

    @property
    def bubble(self) -> float:
        """The share of all ranks' time in which they wait."""
        ranks = sum(len(stage.ranks) for stage in self.stages)
        return sum(stage.bubble * len(stage.ranks) for stage in self.stages) / ranks


def rank_work(planned: Plan, rank: int) -> tuple[ModuleWork, ...]:
    """A rank's work in one microbatch, by module. `ValueError` outside the world."""
    return tuple(module_work(role) for role in planned.rank(rank).modules)


def model_flops(planned: Plan) -> int:
    """The operations that the model needs for a step's global batch, whatever the layout."""
    each = sum(whole_work(plan).flops.model for plan in planned.modules.values())
    return each * planned.spec.schedule.microbatches


def step_work(planned: Plan) -> StepWork:
    """The work of a step, by stage. Takes as long for a million ranks as for eight."""
    spec = planned.spec
    microbatches = spec.schedule.microbatches
    found = tuple(stage_spans(planned))
    time = _time(planned.stages, found, microbatches)
    return StepWork(
        model=model_flops(planned),
        tokens=planned.summary().tokens,
        stages=tuple(_stage_work(planned, span, time) for span in found),
    )


@frozen(kw_only=True)
class StageSpan:
    """Ranks that run one stage together, and what each of them does of a microbatch."""

    stage: int
    ranks: Ranks
    modules: tuple[ModuleWork, ...]

    @property
    def flops(self) -> Flops:
        return sum((module.flops for module in self.modules), Flops())


def stage_spans(planned: Plan) -> Iterator[StageSpan]:
    """The ranks of the world, by stage and, where several encoders share the first, by grid."""
    for stage in range(planned.stages):
        # Grids on the same ranks spell them differently.
        places = {(ranks.start, ranks.last): ranks for _, ranks in planned.stage(stage)}
        for ranks in places.values():
            yield StageSpan(stage=stage, ranks=ranks, modules=rank_work(planned, ranks[0]))


def _time(stages: int, spans: tuple[StageSpan, ...], microbatches: int) -> float:
    """A step's time, in operations of a rank."""
    times = ((span.stage, _pass_times(span.flops)) for span in spans)
    return step_time(by_stage(stages, times), microbatches)


def _pass_times(flops: Flops) -> StageTimes:
    return StageTimes(forward=flops.forward, backward=flops.backward + flops.extra)


def _stage_work(planned: Plan, span: StageSpan, time: float) -> StageWork:
    microbatches = planned.spec.schedule.microbatches
    rank, traffic = _busiest(planned, span.ranks)
    return StageWork(
        stage=span.stage,
        ranks=span.ranks,
        rank=rank,
        modules=span.modules,
        microbatches=microbatches,
        traffic=traffic,
        bubble=1 - microbatches * span.flops.hardware / time if time else 0.0,
    )


def _busiest(planned: Plan, ranks: Ranks) -> tuple[int, RankTraffic]:
    """The first rank, or the leader of its replica where that has more to send."""
    leaders = (
        leader
        for bridge in planned.bridges
        for leader in (bridge.leader(ranks[0]),)
        if leader is not None
    )
    found = {rank: rank_traffic(planned, rank) for rank in (ranks[0], *leaders)}
    rank = max(found, key=lambda one: found[one].sent())
    return rank, found[rank]
