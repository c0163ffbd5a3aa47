"""A whole step: operations by stage and rank, how long stages wait, and the total."""

from attrs import frozen

from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.timing import StageTimes, by_stage, step_time
from mimodsl.planner.traffic.step import RankTraffic, rank_traffic
from mimodsl.planner.work.count import Flops
from mimodsl.planner.work.module import ModuleWork
from mimodsl.planner.work.stage import StageSpan, model_flops, stage_spans


@frozen(kw_only=True)
class StageWork:
    """The work of each of the ranks of one pipeline stage, on one span of ranks, in a step.

    All of them compute the same. `rank` is the one with the most traffic, a leader where there is a
    bridge, and `traffic` is its traffic. `bubble` is the fraction of the step in which they wait,
    if passes take time in proportion to their operations.
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
        """Operations of one rank in a step."""
        flops = sum((module.flops for module in self.modules), Flops())
        return flops.times(self.microbatches)


@frozen(kw_only=True)
class StepWork:
    """A step of the whole world.

    `model` counts the operations that the model needs for the global batch, whatever the layout.
    Divided by the time of a step and by the peak of all ranks, it is the model FLOPs utilization.
    """

    model: int
    tokens: int
    stages: tuple[StageWork, ...]

    @property
    def model_per_token(self) -> float:
        return self.model / self.tokens

    @property
    def hardware(self) -> int:
        """Operations that all ranks compute together."""
        return sum(stage.flops.hardware * len(stage.ranks) for stage in self.stages)

    @property
    def bubble(self) -> float:
        """The fraction of all ranks' time in which they wait."""
        ranks = sum(len(stage.ranks) for stage in self.stages)
        return sum(stage.bubble * len(stage.ranks) for stage in self.stages) / ranks


def step_work(planned: Plan) -> StepWork:
    """The work of a step, by stage. Takes as long for a million ranks as for eight."""
    spec = planned.spec
    spans = tuple(stage_spans(planned))
    time = _time(planned.stages, spans, spec.schedule.microbatches)
    return StepWork(
        model=model_flops(planned),
        tokens=planned.summary().tokens,
        stages=tuple(_stage_work(planned, span, time) for span in spans),
    )


def _time(stages: int, spans: tuple[StageSpan, ...], microbatches: int) -> float:
    """A step's time, in operations of a rank."""
    times = ((span.stage, _stage_times(span.flops)) for span in spans)
    return step_time(by_stage(stages, times), microbatches)


def _stage_times(flops: Flops) -> StageTimes:
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
    """The first rank, or the leader of its replica where the leader has more to send."""
    leaders = (bridge.leader(ranks[0]) for bridge in planned.bridges)
    candidates = (ranks[0], *(leader for leader in leaders if leader is not None))
    traffic = {rank: rank_traffic(planned, rank) for rank in candidates}
    rank = max(traffic, key=lambda candidate: traffic[candidate].sent())
    return rank, traffic[rank]
