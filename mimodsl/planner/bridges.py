"""Bridges: how each flow's embeddings get from the encoder's ranks to the language model's."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from attrs import frozen

from mimodsl.ir.axes import CP, DP, PP, TP
from mimodsl.ir.flow import Flow
from mimodsl.planner.grids import BASE_VIEW, GridPlan
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.ranks import Factor, Groups


class Direction(Enum):
    """Which side has more data-parallel replicas."""

    EQUAL = "equal"
    FAN_IN = "fan-in"
    FAN_OUT = "fan-out"


class BridgeRole(Enum):
    """What a rank does at a bridge between disjoint grids
    (pipeline_parallel/bridge_communicator.py, "SENDER: Leader tp-cp rank within")."""

    SENDER = "sender"
    RECEIVER = "receiver"
    MEMBER = "member"


@frozen(kw_only=True)
class BridgePlan:
    """One flow's crossing from its encoder's grid to the language model's.

    Between disjoint grids one leader of each data-parallel replica sends to its peers, which
    broadcast within their replica (pipeline_parallel/bridge_communicator.py). On the same ranks,
    fan-in gathers and fan-out narrows (models/mimo/comm/colocated_communicator.py).

    What crosses in one microbatch are `[tokens, width]` tensors: `sent` leave each replica of the
    encoder and `received` arrive at each replica of the language model. Gradients come back the
    same way if the bridge `carries_gradients`: if a module before it trains.
    """

    flow: Flow
    source: GridPlan
    destination: GridPlan
    samples: int
    tokens_per_sample: int
    width: int
    carries_gradients: bool

    @property
    def name(self) -> str:
        return f"{self.flow.encoder}->{self.flow.language}"

    @property
    def colocated(self) -> bool:
        return self.source.ranks == self.destination.ranks

    @property
    def direction(self) -> Direction:
        source, destination = self.source.axis(DP), self.destination.axis(DP)
        if source == destination:
            return Direction.EQUAL
        return Direction.FAN_IN if source > destination else Direction.FAN_OUT

    @property
    def scale(self) -> int:
        """Replicas of the larger side to one of the smaller."""
        sizes = self.source.axis(DP), self.destination.axis(DP)
        return max(sizes) // min(sizes)

    @property
    def sent(self) -> tuple[int, int]:
        """`[tokens, width]` of one microbatch on each encoder replica."""
        return self._tokens(self.source), self.width

    @property
    def received(self) -> tuple[int, int]:
        """`[tokens, width]` of one microbatch on each language replica."""
        return self._tokens(self.destination), self.width

    def _tokens(self, grid: GridPlan) -> int:
        return self.samples * self.tokens_per_sample // grid.axis(DP)

    @property
    def senders(self) -> range:
        """The leader of each encoder replica, by data-parallel index: the last rank of its last
        stage (BridgeCommunicator.get_leader_rank)."""
        last = {axis: self.source.axis(axis) - 1 for axis in (TP, CP, PP)}
        return self.source.base.line(DP, last)

    @property
    def receivers(self) -> range:
        """The leader of each language replica: the first rank of its first stage."""
        return self.destination.base.line(DP, {})

    def role(self, rank: int) -> BridgeRole | None:
        """A rank's part; `None` outside both grids, and where grids share their ranks."""
        if self.colocated or not (rank in self.source.ranks or rank in self.destination.ranks):
            return None
        if rank in self.senders:
            return BridgeRole.SENDER
        return BridgeRole.RECEIVER if rank in self.receivers else BridgeRole.MEMBER

    def leader(self, rank: int) -> int | None:
        """The leader that broadcasts to a rank, perhaps itself; `None` away from the boundary:
        only the last stage of the encoder and the first of the language model listen."""
        for grid, leaders, stage in (
            (self.source, self.senders, self.source.axis(PP) - 1),
            (self.destination, self.receivers, 0),
        ):
            if not self.colocated and rank in grid.ranks:
                at = grid.base.coordinates(rank)
                return leaders[at[DP]] if at[PP] == stage else None
        return None

    def peers(self, rank: int) -> range:
        """The leaders that a leader exchanges tensors with; empty for any other rank.

        Where dp sizes differ, a leader of the smaller side has `scale` peers, in order.
        """
        for own, other in ((self.senders, self.receivers), (self.receivers, self.senders)):
            if not self.colocated and rank in own:
                index = own.index(rank)
                each = max(1, len(other) // len(own))
                first = index * len(other) // len(own)
                return other[first : first + each]
        return range(0)


def bridge_plans(
    flows: Iterable[Flow], modules: Mapping[str, ModulePlan]
) -> tuple[BridgePlan, ...]:
    """The bridge of each flow, in order of the flows."""
    return tuple(_bridge(flow, modules) for flow in flows)


def _bridge(flow: Flow, modules: Mapping[str, ModulePlan]) -> BridgePlan:
    sender, language = modules[flow.path[-2]], modules[flow.language]
    tokens, width = sender.outputs
    return BridgePlan(
        flow=flow,
        source=sender.grid,
        destination=language.grid,
        samples=language.samples,
        tokens_per_sample=flow.images * tokens,
        width=width,
        carries_gradients=sender.trained or sender.reached,
    )


def bridge_groups(bridges: tuple[BridgePlan, ...]) -> Iterator[GroupPlan]:
    """The groups of all bridges, in the order in which they are made.

    Between disjoint grids megatron-core makes a group once for the same ranks, so that later
    bridges into the same language model have none of their own
    (pipeline_parallel/bridge_communicator.py, "_bridge_pg_cache: Dict").
    """
    made: set[tuple[bool, frozenset[Groups]]] = set()
    for bridge in bridges:
        if bridge.colocated:
            if bridge.direction is not Direction.EQUAL:
                yield _gather(bridge)
            continue
        for group in _disjoint(bridge):
            key = group.joined, group.partition
            if key not in made:
                made.add(key)
                yield group


def _disjoint(bridge: BridgePlan) -> Iterator[GroupPlan]:
    source, destination = bridge.source, bridge.destination
    last = {PP: source.axis(PP) - 1}
    yield _boundary(bridge, GroupKind.SENDERS, source, last)
    yield _boundary(bridge, GroupKind.RECEIVERS, destination, {PP: 0})
    leaders = sorted((bridge.senders, bridge.receivers), key=lambda ranks: ranks.start)
    yield GroupPlan(
        name=f"{bridge.name}.leaders",
        kind=GroupKind.LEADERS,
        blocks=tuple(
            Groups(start=ranks.start, inner=(Factor(len(ranks), ranks.step),), outer=())
            for ranks in leaders
        ),
        joined=True,
    )


def _boundary(bridge: BridgePlan, kind: GroupKind, grid: GridPlan, at: dict[str, int]) -> GroupPlan:
    return GroupPlan(
        name=f"{bridge.name}.{kind.value}",
        kind=kind,
        blocks=(grid.base.groups((TP, CP), at=at),),
        grid=grid.name,
        view=BASE_VIEW,
        axes=(TP, CP),
    )


def _gather(bridge: BridgePlan) -> GroupPlan:
    """`scale` neighbouring replicas of the larger side, tp rank by tp rank: one of the smaller."""
    fan_in = bridge.direction is Direction.FAN_IN
    grid = bridge.source if fan_in else bridge.destination
    lines = grid.base.groups((DP,), at={CP: 0, PP: 0})
    (along,) = lines.inner
    slots = Factor(along.size // bridge.scale, along.stride * bridge.scale)
    return GroupPlan(
        name=f"{bridge.name}.gather",
        kind=GroupKind.GATHER,
        blocks=(
            Groups(
                start=lines.start,
                inner=(Factor(bridge.scale, along.stride),),
                outer=(*lines.outer, slots),
            ),
        ),
        grid=grid.name,
        view=BASE_VIEW,
        axes=(DP,),
    )
