"""The least time of a step, from the least times of its stages."""

from typing import Final

from mimodsl.planner.nodes import node_plan
from mimodsl.planner.plan import Plan
from mimodsl.planner.time.accelerator import Accelerator
from mimodsl.planner.time.interconnect import Interconnect
from mimodsl.planner.time.least import StepTime
from mimodsl.planner.time.stage import stage_time
from mimodsl.planner.timing import by_stage, step_time
from mimodsl.planner.work.stage import model_flops, stage_spans

MOST_STAGES: Final = 256
"""The most stages of a step that is worked out: the time for it grows with their square."""


def least_time(planned: Plan, accelerator: Accelerator, per_node: int | None = None) -> StepTime:
    """The least time of a step on such GPUs.

    Without `per_node`, `node_plan` places ranks on nodes, at most as many as a node of such GPUs
    has. This takes as long for a million ranks as for eight. `ValueError` for a number of ranks
    that no node can have, and for a pipeline of more than `MOST_STAGES` stages.
    """
    if planned.stages > MOST_STAGES:
        raise ValueError(
            f"how long a step takes is worked out for {MOST_STAGES} stages at most, "
            f"not {planned.stages}"
        )
    nodes = node_plan(planned, accelerator.per_node, per_node)
    interconnect = Interconnect.of_plan(planned, accelerator, nodes.per_node)
    stages = tuple(stage_time(planned, span, interconnect) for span in stage_spans(planned))
    times = by_stage(planned.stages, ((stage.stage, stage.times) for stage in stages))
    spec, summary = planned.spec, planned.summary()
    return StepTime(
        accelerator=accelerator,
        per_node=nodes.per_node,
        seconds=step_time(times, spec.schedule.microbatches),
        model=model_flops(planned),
        samples=summary.batch,
        tokens=summary.tokens,
        peak=accelerator.peak(spec.train.precision) * planned.world,
        stages=stages,
    )
