"""What the ranks of one stage take at least: for their passes, the step's end and messages."""

from collections.abc import Iterator

from mimodsl.planner.bridges import Direction
from mimodsl.planner.calls import Call, CallKind, Purpose
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.sizes import element_size
from mimodsl.planner.time.interconnect import Interconnect
from mimodsl.planner.time.least import Least, StageTime
from mimodsl.planner.time.memory_access import MemoryAccess, memory_access
from mimodsl.planner.traffic.links import bridge_call_groups, gather_calls
from mimodsl.planner.traffic.replicas import ddp_units, step_end
from mimodsl.planner.traffic.step import stage_output
from mimodsl.planner.work.count import PassCalls
from mimodsl.planner.work.step import StageSpan


def stage_time(planned: Plan, span: StageSpan, interconnect: Interconnect) -> StageTime:
    """The least time of the ranks of a span."""
    own = planned.rank(span.ranks[0])
    access = memory_access(planned, own.modules)
    forward, backward = _pass_times(planned, span, interconnect, access)
    before, after = _end(planned, own, interconnect, access, (forward, backward))
    output, gradient = _messages(planned, own, interconnect)
    return StageTime(
        stage=span.stage,
        ranks=span.ranks,
        microbatches=planned.spec.schedule.microbatches,
        forward=forward,
        backward=backward,
        before=before,
        after=after,
        output=output,
        gradient=gradient,
    )


def _pass_times(
    planned: Plan, span: StageSpan, interconnect: Interconnect, access: MemoryAccess
) -> tuple[Least, Least]:
    """The forward and the backward pass of a microbatch, one after the other on every rank."""
    peak = interconnect.accelerator.peak(planned.spec.train.precision)
    stage, flops = span.modules[0].stage, span.flops

    def least(number: int, size: int, *calls: PassCalls) -> Least:
        return Least(
            arithmetic=number / peak,
            memory=size / interconnect.accelerator.bandwidth,
            beside=interconnect.seconds((one for each in calls for one in each.beside), stage),
            waited=interconnect.seconds((one for each in calls for one in each.waited), stage),
        )

    operations = [each for module in span.modules for each in module.operations]
    ahead, back = (PassCalls(waited=tuple(calls)) for calls in _gathered(planned, span))
    return (
        least(flops.forward, access.forward, ahead, *(each.forward for each in operations)),
        least(
            flops.backward + flops.extra,
            access.backward,
            back,
            *(each.backward for each in operations),
        ),
    )


def _gathered(planned: Plan, span: StageSpan) -> tuple[list[Call], list[Call]]:
    """The calls of bridges on the same ranks, forward and back."""
    ahead: list[Call] = []
    back: list[Call] = []
    element = element_size(planned.spec.train.precision)
    for bridge in planned.bridges:
        if bridge.colocated and span.ranks[0] in bridge.source.ranks:
            trains = any(not planned.spec.module(name).frozen for name in bridge.flow.path[:-1])
            calls = gather_calls(bridge, bridge_call_groups(planned, bridge), element, back=trains)
            (ahead if bridge.direction is Direction.FAN_IN else back).extend(calls)
    return ahead, back


def _end(
    planned: Plan,
    own: RankPlan,
    interconnect: Interconnect,
    access: MemoryAccess,
    passes: tuple[Least, Least],
) -> tuple[Least, Least]:
    """What comes before the passes of a step and what comes after them.

    A step is counted from one gradient norm, for which all ranks wait for each other (build/
    optimizer.py), to the next: first the update, then the passes, then the gradients. What overlaps
    a pass is hidden behind it as far as it goes.
    """
    spec, bandwidth = planned.spec, interconnect.accelerator.bandwidth
    units = ddp_units(spec, planned.grids, own.modules)
    calls = tuple(step_end(spec, units, planned.world))
    stage = own.modules[0].stage

    def over_replicas(kind: CallKind, hidden: float) -> dict[Purpose, float]:
        these = (one for one in calls if one.group.purpose is Purpose.REPLICAS and one.kind is kind)
        seconds = sum(interconnect.seconds(these, stage).values())
        return {Purpose.REPLICAS: max(0.0, seconds - hidden)} if seconds else {}

    forward, backward = (one.seconds for one in passes)
    ddp = spec.train.ddp
    gathered = over_replicas(CallKind.ALL_GATHER, forward if ddp.overlap_param_gather else 0.0)
    reduced = over_replicas(CallKind.REDUCE_SCATTER, backward if ddp.overlap_grad_reduce else 0.0)
    sums = (one for one in calls if one.group.purpose is not Purpose.REPLICAS)
    return (
        Least(memory=access.update / bandwidth, waited=gathered),
        Least(
            memory=access.scaling / bandwidth, waited=reduced | interconnect.seconds(sums, stage)
        ),
    )


def _messages(planned: Plan, own: RankPlan, interconnect: Interconnect) -> tuple[float, float]:
    """What a microbatch's output takes to the next stage, and its gradient to come back."""
    found = tuple(_crossings(planned, own, interconnect))
    return max((one for one, _ in found), default=0.0), max((one for _, one in found), default=0.0)


def _crossings(
    planned: Plan, own: RankPlan, interconnect: Interconnect
) -> Iterator[tuple[float, float]]:
    for role in own.modules:
        grid = planned.grid(role.module.grid)
        if not role.last:
            seconds = interconnect.handed_on(grid, role.stage, stage_output(planned, role))
            yield seconds, seconds
    element = element_size(planned.spec.train.precision)
    for bridge in planned.bridges:
        if bridge.leader(own.rank) is not None and own.rank in bridge.source.ranks:
            groups = bridge_call_groups(planned, bridge)
            sent, received = (
                rows * width * element for rows, width in (bridge.sent, bridge.received)
            )
            yield (
                interconnect.bridged(bridge, groups[GroupKind.RECEIVERS], received),
                interconnect.bridged(bridge, groups[GroupKind.SENDERS], sent),
            )
