"""The least time of the ranks of one stage: their passes, the end of a step, and messages."""

from collections.abc import Iterator
from itertools import chain

from mimodsl.planner.bridges import Direction
from mimodsl.planner.calls import Call, CallKind, Purpose
from mimodsl.planner.groups import GroupKind
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.sizes import element_size
from mimodsl.planner.time.interconnect import Interconnect
from mimodsl.planner.time.least import Least, StageTime
from mimodsl.planner.time.memory_access import MemoryAccess, memory_access
from mimodsl.planner.traffic.messages import bridge_call_groups, gather_calls
from mimodsl.planner.traffic.replicas import ddp_units, step_end
from mimodsl.planner.traffic.step import stage_output
from mimodsl.planner.work.count import PassCalls
from mimodsl.planner.work.stage import StageSpan


def stage_time(planned: Plan, span: StageSpan, interconnect: Interconnect) -> StageTime:
    """The least time of the ranks of a span."""
    own = planned.rank(span.ranks[0])
    access = memory_access(planned, own.modules)
    forward, backward = _pass_times(planned, span, interconnect, access)
    before, after = _around_passes(planned, own, interconnect, access, (forward, backward))
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
            beside=interconnect.seconds(chain.from_iterable(part.beside for part in calls), stage),
            waited=interconnect.seconds(chain.from_iterable(part.waited for part in calls), stage),
        )

    operations = [operation for module in span.modules for operation in module.operations]
    ahead, back = (PassCalls(waited=tuple(calls)) for calls in _bridge_calls(planned, span))
    return (
        least(
            flops.forward, access.forward, ahead, *(operation.forward for operation in operations)
        ),
        least(
            flops.backward + flops.extra,
            access.backward,
            back,
            *(operation.backward for operation in operations),
        ),
    )


def _bridge_calls(planned: Plan, span: StageSpan) -> tuple[list[Call], list[Call]]:
    """The calls of bridges on the same ranks, forward and back."""
    ahead: list[Call] = []
    back: list[Call] = []
    element = element_size(planned.spec.train.precision)
    for bridge in planned.bridges:
        if bridge.colocated and span.ranks[0] in bridge.source.ranks:
            calls = gather_calls(bridge, bridge_call_groups(planned, bridge), element)
            (ahead if bridge.direction is Direction.FAN_IN else back).extend(calls)
    return ahead, back


def _around_passes(
    planned: Plan,
    own: RankPlan,
    interconnect: Interconnect,
    access: MemoryAccess,
    passes: tuple[Least, Least],
) -> tuple[Least, Least]:
    """The least times before the passes of a step and after them.

    A step goes from one gradient norm, for which all ranks wait for each other
    (builder/optimizer.py), to the next: first the update, then the passes, then the gradients.
    Calls that overlap a pass take only the time by which they are longer than the pass.
    """
    spec, bandwidth = planned.spec, interconnect.accelerator.bandwidth
    units = ddp_units(spec, planned.grids, own.modules)
    calls = tuple(step_end(spec, units, planned.world))
    stage = own.modules[0].stage

    def over_replicas(kind: CallKind, hidden: float) -> dict[Purpose, float]:
        selected = (
            call for call in calls if call.group.purpose is Purpose.REPLICAS and call.kind is kind
        )
        seconds = sum(interconnect.seconds(selected, stage).values())
        return {Purpose.REPLICAS: max(0.0, seconds - hidden)} if seconds else {}

    forward, backward = (least.seconds for least in passes)
    ddp = spec.train.ddp
    gathered = over_replicas(CallKind.ALL_GATHER, forward if ddp.overlap_param_gather else 0.0)
    reduced = over_replicas(CallKind.REDUCE_SCATTER, backward if ddp.overlap_grad_reduce else 0.0)
    sums = (call for call in calls if call.group.purpose is not Purpose.REPLICAS)
    return (
        Least(memory=access.update / bandwidth, waited=gathered),
        Least(
            memory=access.scaling / bandwidth, waited=reduced | interconnect.seconds(sums, stage)
        ),
    )


def _messages(planned: Plan, own: RankPlan, interconnect: Interconnect) -> tuple[float, float]:
    """Seconds of a microbatch's output to the next stage, and of its gradient back."""
    crossings = tuple(_crossings(planned, own, interconnect))
    return (
        max((output for output, _ in crossings), default=0.0),
        max((gradient for _, gradient in crossings), default=0.0),
    )


def _crossings(
    planned: Plan, own: RankPlan, interconnect: Interconnect
) -> Iterator[tuple[float, float]]:
    """The same for each next stage and each bridge of a rank."""
    for role in own.modules:
        grid = planned.grid(role.module.grid)
        if not role.last:
            seconds = interconnect.stage_seconds(grid, role.stage, stage_output(role))
            yield seconds, seconds
    element = element_size(planned.spec.train.precision)
    for bridge in planned.bridges:
        if bridge.leader(own.rank) is not None and own.rank in bridge.source.ranks:
            groups = bridge_call_groups(planned, bridge)
            sent, received = (
                rows * width * element for rows, width in (bridge.sent, bridge.received)
            )
            yield (
                interconnect.bridge_seconds(bridge, groups[GroupKind.RECEIVERS], received),
                interconnect.bridge_seconds(bridge, groups[GroupKind.SENDERS], sent),
            )
