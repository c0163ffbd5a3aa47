"""The traffic of a step on one rank."""

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from mimodsl.planner.grids import GridPlan
from mimodsl.planner.layers.share import FP32, element_size
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.traffic.call import Call, CallKind, Purpose
from mimodsl.planner.traffic.links import bridge_calls, bridge_lines, gather_calls, stage_calls
from mimodsl.planner.traffic.replicas import step_end, wrapped
from mimodsl.planner.work.module import module_work
from mimodsl.planner.work.site import site


@frozen(kw_only=True)
class GroupTraffic:
    """What a rank moves over one group in a step: message bytes by the kind of call, and what that
    puts on the wire."""

    group: str
    members: int
    purpose: Purpose
    messages: dict[CallKind, int]
    calls: int
    sent: int
    received: int


@frozen(kw_only=True)
class Traffic:
    """All calls of a rank in a step."""

    calls: tuple[Call, ...]

    @property
    def groups(self) -> tuple[GroupTraffic, ...]:
        """By group and what it is for, the busiest first."""
        found: dict[tuple[str, Purpose], list[Call]] = {}
        for call in self.calls:
            found.setdefault((call.line.group, call.line.purpose), []).append(call)
        groups = [_of_group(calls) for calls in found.values()]
        return tuple(sorted(groups, key=lambda group: -group.sent - group.received))

    def sent(self, purpose: Purpose | None = None) -> int:
        """Bytes that the rank sends, of one purpose or all."""
        return sum(
            call.sent for call in self.calls if purpose is None or call.line.purpose is purpose
        )

    def received(self, purpose: Purpose | None = None) -> int:
        """Bytes that the rank receives, of one purpose or all."""
        return sum(
            call.received for call in self.calls if purpose is None or call.line.purpose is purpose
        )


def _of_group(calls: list[Call]) -> GroupTraffic:
    messages: dict[CallKind, int] = {}
    for call in calls:
        messages[call.kind] = messages.get(call.kind, 0) + call.bytes
    line = calls[0].line
    return GroupTraffic(
        group=line.group,
        members=line.members,
        purpose=line.purpose,
        messages=messages,
        calls=sum(call.times for call in calls),
        sent=sum(call.sent for call in calls),
        received=sum(call.received for call in calls),
    )


def rank_traffic(planned: Plan, rank: int) -> Traffic:
    """A rank's traffic. `ValueError` outside the world."""
    own = planned.rank(rank)
    microbatches = planned.spec.schedule.microbatches
    each = _microbatch(planned, own)
    passes = (evolve(call, times=call.times * microbatches) for call in each)
    held = wrapped(planned.spec, planned.grids, own.modules)
    end = step_end(planned.spec, held, planned.world)
    return Traffic(calls=tuple(_merged((*passes, *end))))


def _microbatch(planned: Plan, own: RankPlan) -> Iterator[Call]:
    spec = planned.spec
    for role in own.modules:
        yield from module_work(spec, planned.grid(role.module.grid), role).calls
    for grid in planned.grids:
        if own.rank in grid.ranks and grid.axis("pp") > 1:
            yield from stage_calls(grid, own.rank, planned.world, activation(planned, grid))
    element = element_size(spec.train.precision)
    for bridge in planned.bridges:
        lines = bridge_lines(planned, bridge)
        if bridge.colocated and own.rank in bridge.source.ranks:
            back = any(not spec.module(name).frozen for name in bridge.flow.path[:-1])
            yield from gather_calls(bridge, lines, element, back=back)
        elif not bridge.colocated:
            yield from bridge_calls(bridge, own.rank, lines, element)


def activation(planned: Plan, grid: GridPlan) -> int:
    """Bytes of what one stage hands the next: the residual stream `[s, b, h]` of a rank's tokens
    (pipeline_parallel/p2p_communication.py receives it in fp32 where it is)."""
    language = planned.spec.language
    assert language.grid == grid.name, "encoders have one stage"
    here = site(planned.spec, language, grid)
    kind = planned.spec.language_kind
    return here.shard * kind.hidden * (FP32 if kind.residual_fp32 else here.element)


def _merged(calls: Iterable[Call]) -> Iterator[Call]:
    """Equal calls counted together."""
    times: dict[Call, int] = {}
    for call in calls:
        key = evolve(call, times=1)
        times[key] = times.get(key, 0) + call.times
    for call, number in times.items():
        yield evolve(call, times=number)
