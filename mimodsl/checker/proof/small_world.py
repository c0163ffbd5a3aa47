"""A small world: a few ranks that represent all ranks of a plan, and the groups between them."""

from collections.abc import Callable, Hashable, Iterable, Iterator

from attrs import field, frozen

from mimodsl.checker.proof.program import ProcessGroup
from mimodsl.ir.axes import CP, DP, PP, TP
from mimodsl.planner.bridges import BridgePlan, Direction
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.plan import Layout, Plan
from mimodsl.planner.sharing import CommunicatorPlan, communicators


def _by_name() -> dict[str, dict[int, ProcessGroup]]:
    return {}


def _by_communicator() -> dict[tuple[int, tuple[int, ...]], ProcessGroup]:
    return {}


@frozen(kw_only=True, eq=False)
class BridgeLeaders:
    """The leaders at a bridge: the group of all leaders, and the peers of each leader."""

    group: ProcessGroup
    peers: dict[int, tuple[int, ...]]


@frozen(kw_only=True, eq=False)
class SmallWorld:
    """Some `ranks` of a plan, and the groups between them.

    Ranks that differ along one axis only do the same with different partners. So two ranks
    represent all ranks along an axis: the leader at a bridge and another rank, the first and the
    last replica, the first and the last peer of a leader with several peers. All pipeline stages
    are here, because each stage differs. Group names that share a communicator share one object.
    """

    plan: Plan
    ranks: tuple[int, ...]
    everyone: ProcessGroup
    leaders: dict[str, BridgeLeaders]
    communicators: tuple[CommunicatorPlan, ...]
    _by_group_name: dict[str, dict[int, ProcessGroup]] = field(init=False, factory=_by_name)
    _by_members: dict[tuple[int, tuple[int, ...]], ProcessGroup] = field(
        init=False, factory=_by_communicator
    )

    def along(
        self, grid: GridPlan, axes: tuple[str, ...], view: int = 0
    ) -> dict[int, ProcessGroup]:
        """The groups along axes of a view, by rank."""
        view_plan = grid.views[view]

        def other_coordinates(rank: int) -> Hashable:
            coordinates = view_plan.layout.coordinates(rank)
            return tuple(index for axis, index in coordinates.items() if axis not in axes)

        names = (grid.name,) if view == 0 else (grid.name, view_plan.name)
        return self._groups(grid, ".".join((*names, "-".join(axes))), other_coordinates)

    def boundary(self, grid: GridPlan, side: GroupKind) -> dict[int, ProcessGroup]:
        """The groups in which the leaders of a grid broadcast data from bridges, by rank.

        All bridges of a grid use the groups of the first one.
        """
        planned = next(
            group for group in self.plan.groups() if group.kind is side and group.grid == grid.name
        )
        return self._groups(grid, planned.name, _first_member(planned))

    def embedding(self, grid: GridPlan) -> dict[int, ProcessGroup]:
        """The groups of the first and last stage of each pipeline, by rank."""
        last = grid.axis(PP) - 1

        def pipeline(rank: int) -> Hashable:
            coordinates = grid.base.coordinates(rank)
            is_inner = coordinates[PP] not in (0, last)
            return (
                is_inner and rank,
                coordinates[TP],
                coordinates[CP],
                coordinates[DP],
            )

        return self._groups(grid, f"{grid.name}.embedding", pipeline)

    def gather(self, bridge: BridgePlan) -> dict[int, ProcessGroup]:
        """The gather groups of a bridge between grids on the same ranks, by rank."""
        name = f"{bridge.name}.gather"
        planned = next(group for group in self.plan.groups() if group.name == name)
        return self._groups(bridge.destination, name, _first_member(planned))

    def _groups(
        self, grid: GridPlan, name: str, key: Callable[[int], Hashable]
    ) -> dict[int, ProcessGroup]:
        """The groups of a grid with one name, by rank.

        Ranks with equal keys are in one group; ranks with the key `None` are in no group.
        """
        by_rank = self._by_group_name.get(name)
        if by_rank is None:
            members: dict[Hashable, list[int]] = {}
            for rank in self.ranks:
                if rank in grid.ranks and (group_key := key(rank)) is not None:
                    members.setdefault(group_key, []).append(rank)
            groups = [self._group(name, tuple(ranks)) for ranks in members.values()]
            by_rank = {rank: group for group in groups for rank in group.members}
            self._by_group_name[name] = by_rank
        return by_rank

    def _group(self, name: str, members: tuple[int, ...]) -> ProcessGroup:
        """The communicator that serves a group name for these ranks."""
        serving = next(
            index
            for index, communicator in enumerate(self.communicators)
            if any(
                group.name == name and group.of(members[0]) is not None
                for group in communicator.names
            )
        )
        group = ProcessGroup(name=self.communicators[serving].made.name, members=members)
        return self._by_members.setdefault((serving, members), group)


def _first_member(planned: GroupPlan) -> Callable[[int], int | None]:
    """A function from a rank to the first member of its group."""

    def first(rank: int) -> int | None:
        members = planned.of(rank)
        return None if members is None else members.start

    return first


def small_world(planned: Plan, ranks: Iterable[int] | None = None) -> SmallWorld:
    """The ranks that represent the world of a plan, or the given ranks.

    The number of representatives grows only with the number of stages and flows.
    """
    if ranks is None:
        ranks = (rank for grid in planned.grids for rank in _representatives(planned, grid))
    ranks = tuple(sorted(set(ranks)))
    return SmallWorld(
        plan=planned,
        ranks=ranks,
        everyone=ProcessGroup(name="the world", members=ranks),
        leaders=_leaders(planned, ranks),
        communicators=communicators(planned),
    )


def _leaders(planned: Plan, ranks: tuple[int, ...]) -> dict[str, BridgeLeaders]:
    """The leaders by bridge. Bridges between the same leaders share their group
    (pipeline_parallel/bridge_communicator.py, "def _get_or_create_bridge_pg")."""
    groups: dict[tuple[range, range], ProcessGroup] = {}
    leaders: dict[str, BridgeLeaders] = {}
    for bridge in planned.bridges:
        if not bridge.colocated:
            peers = _peers(bridge, ranks)
            group = ProcessGroup(name=f"{bridge.name}.leaders", members=tuple(sorted(peers)))
            group = groups.setdefault((bridge.senders, bridge.receivers), group)
            leaders[bridge.name] = BridgeLeaders(group=group, peers=peers)
    return leaders


def _peers(bridge: BridgePlan, ranks: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """The leaders among the ranks, each with its peers among the ranks."""
    senders = [rank for rank in ranks if rank in bridge.senders]
    receivers = [rank for rank in ranks if rank in bridge.receivers]
    many, few = senders, receivers
    if bridge.direction is Direction.FAN_OUT:
        many, few = receivers, senders
    peers_of_many = {rank: tuple(bridge.peers(rank)) for rank in many}
    peers_of_few = {
        rank: tuple(peer for peer in many if rank in peers_of_many[peer]) for rank in few
    }
    return peers_of_many | peers_of_few


def _representatives(planned: Plan, grid: GridPlan) -> Iterator[int]:
    """The ranks that represent a grid: on each stage, a leader, other ranks and replicas."""
    sends = planned.layout is Layout.NON_COLOCATED and any(
        bridge.source is grid for bridge in planned.bridges
    )
    leader = {axis: grid.axis(axis) - 1 if sends else 0 for axis in (TP, CP)}
    other = {axis: 0 if sends else grid.axis(axis) - 1 for axis in (TP, CP)}
    places = [
        {**leader, DP: 0},
        {**leader, DP: 0, TP: other[TP]},
        {**leader, DP: 0, CP: other[CP]},
        *({**leader, DP: replica} for replica in _replicas(planned, grid)),
    ]
    for stage in range(grid.axis(PP)):
        yield from (grid.base.rank({**place, PP: stage}) for place in places)


def _replicas(planned: Plan, grid: GridPlan) -> set[int]:
    """The first and the last replica, and those that bridges join to the language model."""
    replicas = {0, grid.axis(DP) - 1}
    language = _language_replicas(planned.bridges)
    for bridge in planned.bridges:
        if bridge.destination is grid:
            replicas |= language
        elif bridge.source is grid:
            replicas |= set(_joined(bridge, language))
    return replicas


def _language_replicas(bridges: Iterable[BridgePlan]) -> set[int]:
    replicas: set[int] = set()
    for bridge in bridges:
        replicas |= {0, bridge.destination.axis(DP) - 1}
        if bridge.direction is Direction.FAN_OUT:
            replicas.add(bridge.scale - 1)
    return replicas


def _joined(bridge: BridgePlan, language: Iterable[int]) -> Iterator[int]:
    """The first and the last encoder replica for each of some language model replicas."""
    for replica in language:
        if bridge.direction is Direction.FAN_IN:
            yield replica * bridge.scale
            yield (replica + 1) * bridge.scale - 1
        else:
            yield replica // bridge.scale
