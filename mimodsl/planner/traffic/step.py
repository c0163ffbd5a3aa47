"""The traffic of a step on one rank."""

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from mimodsl.planner.calls import Call, CallKind, Purpose
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.sizes import element_size
from mimodsl.planner.traffic.messages import (
    bridge_call_groups,
    bridge_calls,
    gather_calls,
    stage_calls,
)
from mimodsl.planner.traffic.replicas import ddp_units, step_end
from mimodsl.planner.work.module import module_work


@frozen(kw_only=True)
class GroupTraffic:
    """What a rank moves over one group in a step: message bytes by the kind of call, and the bytes
    on the wire."""

    group: str
    members: int
    purpose: Purpose
    messages: dict[CallKind, int]
    calls: int
    sent: int
    received: int


@frozen(kw_only=True)
class RankTraffic:
    """All calls of one rank in a step."""

    calls: tuple[Call, ...]

    @property
    def groups(self) -> tuple[GroupTraffic, ...]:
        """By group and what it is for, the busiest first."""
        by_group: dict[tuple[str, Purpose], list[Call]] = {}
        for call in self.calls:
            by_group.setdefault((call.group.name, call.group.purpose), []).append(call)
        groups = [_group_traffic(calls) for calls in by_group.values()]
        return tuple(sorted(groups, key=lambda group: -group.sent - group.received))

    def sent(self, purpose: Purpose | None = None) -> int:
        """Bytes that the rank sends, of one purpose or all."""
        return sum(
            call.sent for call in self.calls if purpose is None or call.group.purpose is purpose
        )

    def received(self, purpose: Purpose | None = None) -> int:
        """Bytes that the rank receives, of one purpose or all."""
        return sum(
            call.received for call in self.calls if purpose is None or call.group.purpose is purpose
        )


def _group_traffic(calls: list[Call]) -> GroupTraffic:
    messages: dict[CallKind, int] = {}
    for call in calls:
        messages[call.kind] = messages.get(call.kind, 0) + call.bytes
    group = calls[0].group
    return GroupTraffic(
        group=group.name,
        members=group.members,
        purpose=group.purpose,
        messages=messages,
        calls=sum(call.times for call in calls),
        sent=sum(call.sent for call in calls),
        received=sum(call.received for call in calls),
    )


def rank_traffic(planned: Plan, rank: int) -> RankTraffic:
    """A rank's traffic. `ValueError` outside the world."""
    own = planned.rank(rank)
    microbatches = planned.spec.schedule.microbatches
    each = _microbatch(planned, own)
    repeated = (evolve(call, times=call.times * microbatches) for call in each)
    units = ddp_units(planned.spec, planned.grids, own.modules)
    end = step_end(planned.spec, units, planned.world)
    return RankTraffic(calls=tuple(_merged((*repeated, *end))))


def _microbatch(planned: Plan, own: RankPlan) -> Iterator[Call]:
    spec = planned.spec
    for role in own.modules:
        yield from module_work(role).calls
    for role in own.modules:
        if role.stages > 1:
            grid, size = planned.grid(role.module.grid), stage_output(role)
            yield from stage_calls(grid, own.rank, planned.world, size)
    element = element_size(spec.train.precision)
    for bridge in planned.bridges:
        groups = bridge_call_groups(planned, bridge)
        if bridge.colocated and own.rank in bridge.source.ranks:
            yield from gather_calls(bridge, groups, element)
        elif not bridge.colocated:
            yield from bridge_calls(bridge, own.rank, groups, element)


def stage_output(role: ModuleRole) -> int:
    """Bytes that a stage of the language model sends to the next one for each microbatch.

    It is the residual stream `[s, b, h]` of the rank's tokens, in its own precision
    (pipeline_parallel/p2p_communication.py).
    """
    share = role.share
    return share.rows * role.plan.widths.hidden * share.residual


def _merged(calls: Iterable[Call]) -> Iterator[Call]:
    """Equal calls counted together."""
    times: dict[Call, int] = {}
    for call in calls:
        key = evolve(call, times=1)
        times[key] = times.get(key, 0) + call.times
    for call, number in times.items():
        yield evolve(call, times=number)
