"""The least time of calls over the links that they have to use."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from mimodsl.ir.axes import PP
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.calls import WORLD, Call, CallGroup, CallKind, Purpose
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.nodes import block_crossing, together
from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Factor, Groups
from mimodsl.planner.time.accelerator import Accelerator


@frozen(kw_only=True)
class Interconnect:
    """The links of a world on nodes of `per_node` ranks: fast links inside a node, and a network
    between nodes.

    A group uses the network if all groups with its name and stage have members on several nodes. If
    only some of them have, it counts as one of the others: the least time then holds for every
    group.
    """

    accelerator: Accelerator
    per_node: int
    grids: Mapping[str, GridPlan]
    groups: Mapping[str, GroupPlan]

    @classmethod
    def of_plan(cls, planned: Plan, accelerator: Accelerator, per_node: int) -> "Interconnect":
        return cls(
            accelerator=accelerator,
            per_node=per_node,
            grids={grid.name: grid for grid in planned.grids},
            groups={group.name: group for group in planned.groups()},
        )

    def seconds(self, calls: Iterable[Call], stage: int) -> dict[Purpose, float]:
        """The least seconds that calls of a grid's stage take one after the other, by purpose."""
        sizes: dict[tuple[CallGroup, CallKind], int] = {}
        for call in calls:
            key = call.group, call.kind
            sizes[key] = sizes.get(key, 0) + call.bytes
        by_purpose: dict[Purpose, float] = {}
        for (group, kind), size in sizes.items():
            if group.members == 1:
                continue
            seconds = size * self._seconds_per_byte(kind, group, stage)
            by_purpose[group.purpose] = by_purpose.get(group.purpose, 0.0) + seconds
        return by_purpose

    def _seconds_per_byte(self, kind: CallKind, group: CallGroup, stage: int) -> float:
        n, k = group.members, self._together(group, stage)
        inside, network = self.accelerator.link, self.accelerator.network
        if n == k:
            return _sent(kind, n) / inside
        return max(_sent(kind, n) / (inside + network), _sent_out(kind, n, k) / network)

    def _together(self, group: CallGroup, stage: int) -> int:
        """Members of a group that share a node: all, unless every group crosses nodes."""
        blocks = self._blocks(group, stage)
        if any(block_crossing(block, self.per_node) < len(block) for block in blocks):
            return group.members
        return max(together(block, self.per_node) for block in blocks)

    def _blocks(self, group: CallGroup, stage: int) -> tuple[Groups, ...]:
        if group.name == WORLD:
            return (Groups(start=0, inner=(Factor(group.members, 1),), outer=()),)
        planned = self.groups[group.name]
        if planned.kind is not GroupKind.AXES or PP in planned.axes:
            return tuple(block for block in planned.blocks if block.size > 1)
        grid = self.grids[planned.grid]
        view = next(view for view in grid.views if view.name == planned.view)
        return (view.layout.groups(planned.axes, at={PP: stage}),)

    def stage_seconds(self, grid: GridPlan, stage: int, size: int) -> float:
        """Seconds of activations to the next stage of a grid, or of their gradients back."""
        here, there = grid.stage(stage), grid.stage(stage + 1)
        pair = Factor(2, there.start - here.start)
        pairs = Groups(start=here.start, inner=(pair,), outer=here.factors)
        crosses = block_crossing(pairs, self.per_node) == len(pairs)
        return size / (self.accelerator.network if crosses else self.accelerator.link)

    def bridge_seconds(self, bridge: BridgePlan, listeners: CallGroup, size: int) -> float:
        """Seconds of a tensor over a bridge between disjoint grids, from leader to leader and then
        to all ranks that listen. Leaders count as on one node if their grids share a node."""
        nodes = sorted(
            (grid.ranks[0] // self.per_node, grid.ranks[-1] // self.per_node)
            for grid in (bridge.source, bridge.destination)
        )
        crosses = nodes[0][1] < nodes[1][0]
        across = size / (self.accelerator.network if crosses else self.accelerator.link)
        heard = Call(group=listeners, kind=CallKind.BROADCAST, size=size)
        return across + sum(self.seconds((heard,), 0).values())


def _sent(kind: CallKind, n: int) -> float:
    """The least fraction of a message that some rank of n sends or receives, with any algorithm.

    A ring sends more for an all-reduce, 2 (n - 1) / n. With a switch that adds, each rank sends its
    tensor and receives the sum (NVLink SHARP).
    """
    match kind:
        case CallKind.ALL_GATHER | CallKind.REDUCE_SCATTER | CallKind.ALL_TO_ALL:
            return (n - 1) / n
        case CallKind.RECEIVE:
            return 0.0  # the other end of a send, at the same time
        case _:
            return 1.0


def _sent_out(kind: CallKind, n: int, k: int) -> float:
    """The least fraction of a message that each of k members on a node sends to other nodes, or
    receives from them.

    The members send once for all of them what all of them have.
    """
    match kind:
        case CallKind.ALL_TO_ALL:
            return (n - k) / n
        case CallKind.ALL_GATHER | CallKind.REDUCE_SCATTER:
            return (n - k) / n / k
        case CallKind.SEND:
            return 1.0
        case CallKind.RECEIVE:
            return 0.0
        case _:
            return 1.0 / k
