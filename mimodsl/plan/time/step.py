"""The least time of a step, from those of its stages."""

from mimodsl.plan.nodes import node_plan
from mimodsl.plan.time.accelerator import Accelerator
from mimodsl.plan.time.least import StepTime
from mimodsl.plan.time.links import Links
from mimodsl.plan.time.stage import stage_time
from mimodsl.plan.timing import StageTimes, step_time
from mimodsl.plan.whole import Plan
from mimodsl.plan.work.step import model_flops, stage_spans


def least_time(planned: Plan, accelerator: Accelerator, per_node: int | None = None) -> StepTime:
    """What a step takes at least on such GPUs.

    Without `per_node`, ranks lie on nodes as `node_plan` has them, up to as many on each as a node
    of such GPUs takes. Takes as long for a million ranks as for eight. `ValueError` for a number
    of ranks that no node has.
    """
    nodes = node_plan(planned, accelerator.per_node, per_node)
    links = Links.of(planned, accelerator, nodes.per_node)
    stages = tuple(stage_time(planned, span, links) for span in stage_spans(planned))
    times: list[list[StageTimes]] = [[] for _ in range(planned.stages)]
    for one in stages:
        times[one.stage].append(one.times)
    spec, summary = planned.spec, planned.summary()
    return StepTime(
        accelerator=accelerator,
        per_node=nodes.per_node,
        seconds=step_time(times, spec.schedule.microbatches),
        model=model_flops(spec),
        samples=summary.batch,
        tokens=summary.tokens,
        peak=accelerator.peak(spec.train.precision) * planned.world,
        stages=stages,
    )
