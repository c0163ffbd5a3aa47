"""The world cut down to a few ranks that stand for all of it, and its groups cut down with them."""

from collections.abc import Callable, Hashable, Iterable, Iterator

from attrs import field, frozen

from mimodsl.checker.proof.program import Group
from mimodsl.planner.bridges import BridgePlan, Direction
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.plan import Layout, Plan
from mimodsl.planner.sharing import CommunicatorPlan, communicators


def _by_name() -> dict[str, dict[int, Group]]:
    return {}


def _by_communicator() -> dict[tuple[int, tuple[int, ...]], Group]:
    return {}


@frozen(kw_only=True)
class Meeting:
    """The leaders at a bridge: the one group of all of them, and whom each deals with."""

    group: Group
    peers: dict[int, tuple[int, ...]]


@frozen(kw_only=True, eq=False)
class Cut:
    """Some `ranks` of a plan, and the groups between them.

    Ranks that differ along an axis alone do the same with other partners. So along every axis of a
    grid two ranks stand for all: the one that leads at a bridge and one that does not, the first
    and the last replica, the first and the last peer of a leader with many. Only stages differ each
    from each, and all of them are here. Names that share a communicator have one object for it.
    """

    plan: Plan
    ranks: tuple[int, ...]
    world: Group
    meetings: dict[str, Meeting]
    communicators: tuple[CommunicatorPlan, ...]
    _named: dict[str, dict[int, Group]] = field(init=False, factory=_by_name)
    _made: dict[tuple[int, tuple[int, ...]], Group] = field(init=False, factory=_by_communicator)

    def along(self, grid: GridPlan, axes: tuple[str, ...], view: int = 0) -> dict[int, Group]:
        """The groups along axes of a view, by rank."""
        chosen = grid.views[view]

        def others(rank: int) -> Hashable:
            at = chosen.layout.coordinates(rank)
            return tuple(index for axis, index in at.items() if axis not in axes)

        names = (grid.name,) if view == 0 else (grid.name, chosen.name)
        return self._by(grid, ".".join((*names, "-".join(axes))), others)

    def boundary(self, grid: GridPlan, side: GroupKind) -> dict[int, Group]:
        """The groups in which the leaders of a grid's replicas broadcast what bridges bring: those
        of the first of the grid's bridges serve all."""
        planned = next(
            group for group in self.plan.groups() if group.kind is side and group.grid == grid.name
        )
        return self._by(grid, planned.name, _first_of(planned))

    def embedding(self, grid: GridPlan) -> dict[int, Group]:
        """The groups of each pipeline's first and last stage."""
        last = grid.axis("pp") - 1

        def pipeline(rank: int) -> Hashable:
            at = grid.base.coordinates(rank)
            between = at["pp"] not in (0, last)
            return between and rank, at["tp"], at["cp"], at["dp"]

        return self._by(grid, f"{grid.name}.embedding", pipeline)

    def gather(self, bridge: BridgePlan) -> dict[int, Group]:
        """The groups of a bridge between grids on the same ranks, whose replicas differ."""
        name = f"{bridge.name}.gather"
        planned = next(group for group in self.plan.groups() if group.name == name)
        return self._by(bridge.destination, name, _first_of(planned))

    def _by(self, grid: GridPlan, name: str, key: Callable[[int], Hashable]) -> dict[int, Group]:
        """The grid's groups under a name: ranks of equal keys are together, those of `None` in
        none."""
        named = self._named.get(name)
        if named is None:
            together: dict[Hashable, list[int]] = {}
            for rank in self.ranks:
                if rank in grid.ranks and (own := key(rank)) is not None:
                    together.setdefault(own, []).append(rank)
            groups = [self._group(name, tuple(ranks)) for ranks in together.values()]
            named = {rank: group for group in groups for rank in group.members}
            self._named[name] = named
        return named

    def _group(self, name: str, members: tuple[int, ...]) -> Group:
        """The communicator that carries a name for these ranks."""
        serving = next(
            index
            for index, one in enumerate(self.communicators)
            if any(group.name == name and group.of(members[0]) is not None for group in one.names)
        )
        group = Group(name=self.communicators[serving].made.name, members=members)
        return self._made.setdefault((serving, members), group)


def _first_of(planned: GroupPlan) -> Callable[[int], int | None]:
    """The first member of a rank's group of a name."""

    def first(rank: int) -> int | None:
        own = planned.of(rank)
        return None if own is None else own.start

    return first


def cut(planned: Plan, ranks: Iterable[int] | None = None) -> Cut:
    """The ranks that stand for a plan's world; their number grows with stages and flows alone.

    Others may be given, such as all of them.
    """
    chosen = (rank for grid in planned.grids for rank in _of_grid(planned, grid))
    ranks = tuple(sorted(set(chosen if ranks is None else ranks)))
    return Cut(
        plan=planned,
        ranks=ranks,
        world=Group(name="the world", members=ranks),
        meetings=_meetings(planned, ranks),
        communicators=communicators(planned),
    )


def _meetings(planned: Plan, ranks: tuple[int, ...]) -> dict[str, Meeting]:
    """By bridge. Bridges between the same leaders share their group
    (bridge_communicator.py:204)."""
    groups: dict[tuple[range, range], Group] = {}
    meetings: dict[str, Meeting] = {}
    for bridge in planned.bridges:
        if not bridge.colocated:
            peers = _peers(bridge, ranks)
            group = Group(name=f"{bridge.name}.leaders", members=tuple(sorted(peers)))
            group = groups.setdefault((bridge.senders, bridge.receivers), group)
            meetings[bridge.name] = Meeting(group=group, peers=peers)
    return meetings


def _peers(bridge: BridgePlan, ranks: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """The leaders among some ranks with the leaders that each deals with, of those ranks."""
    senders = [rank for rank in ranks if rank in bridge.senders]
    receivers = [rank for rank in ranks if rank in bridge.receivers]
    many, few = senders, receivers
    if bridge.direction is Direction.FAN_OUT:
        many, few = receivers, senders
    towards = {rank: tuple(bridge.peers(rank)) for rank in many}
    back = {rank: tuple(one for one in many if rank in towards[one]) for rank in few}
    return towards | back


def _of_grid(planned: Plan, grid: GridPlan) -> Iterator[int]:
    sends = planned.layout is Layout.NON_COLOCATED and any(
        bridge.source is grid for bridge in planned.bridges
    )
    lead = {axis: grid.axis(axis) - 1 if sends else 0 for axis in ("tp", "cp")}
    other = {axis: 0 if sends else grid.axis(axis) - 1 for axis in ("tp", "cp")}
    at = [
        {**lead, "dp": 0},
        {**lead, "dp": 0, "tp": other["tp"]},
        {**lead, "dp": 0, "cp": other["cp"]},
        *({**lead, "dp": replica} for replica in _replicas(planned, grid)),
    ]
    for stage in range(grid.axis("pp")):
        yield from (grid.base.rank({**one, "pp": stage}) for one in at)


def _replicas(planned: Plan, grid: GridPlan) -> set[int]:
    """The first and the last replica, and those that bridges join to the language model's."""
    chosen = {0, grid.axis("dp") - 1}
    language = _language_replicas(planned.bridges)
    for bridge in planned.bridges:
        if bridge.destination is grid:
            chosen |= language
        elif bridge.source is grid:
            chosen |= set(_joined(bridge, language))
    return chosen


def _language_replicas(bridges: Iterable[BridgePlan]) -> set[int]:
    chosen: set[int] = set()
    for bridge in bridges:
        chosen |= {0, bridge.destination.axis("dp") - 1}
        if bridge.direction is Direction.FAN_OUT:
            chosen.add(bridge.scale - 1)
    return chosen


def _joined(bridge: BridgePlan, language: Iterable[int]) -> Iterator[int]:
    """The encoder's replicas, for each chosen one of the language model's: both ends of many."""
    for replica in language:
        if bridge.direction is Direction.FAN_IN:
            yield replica * bridge.scale
            yield (replica + 1) * bridge.scale - 1
        else:
            yield replica // bridge.scale
