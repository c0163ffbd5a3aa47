"""Nodes: how many ranks go on each machine of a cluster, and which groups then cross machines."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import prod
from typing import Final

from attrs import frozen

from mimodsl.ir.axes import EP, ETP, TP
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Groups, Ranks

LARGEST: Final = 256
"""Ranks on one node at most: the choice tries every number up to what a node has."""

_COUNTED: Final = 1024
"""Members of a group up to which they are counted node by node."""

_TENSOR: Final = ((TP,), (ETP,))
_EXPERT: Final = ((EP,),)


@frozen(kw_only=True)
class GroupSpread:
    """How many of the groups under one name, and under others with the same members, cross nodes.

    `others` are those other names.
    """

    group: GroupPlan
    crossing: int
    others: tuple[str, ...] = ()

    @property
    def inside_layers(self) -> bool:
        """Whether every layer waits for them: groups of tensor or expert parallelism."""
        return self.group.kind is GroupKind.AXES and self.group.axes in (*_TENSOR, *_EXPERT)


@frozen(kw_only=True)
class NodePlan:
    """A world on nodes: consecutive ranks on each, as many as `per_node`; the last takes the rest.

    `why` says in a line how that number came about.
    """

    plan: Plan
    per_node: int
    why: str

    @property
    def nodes(self) -> int:
        return _nodes(self.plan, self.per_node)

    @property
    def on_last(self) -> int:
        """Ranks on the last node."""
        return self.plan.world - (self.nodes - 1) * self.per_node

    @property
    def groups(self) -> tuple[GroupSpread, ...]:
        """Every declared group of two ranks or more, those with the same members once."""
        same: dict[object, list[GroupPlan]] = {}
        for group in self.plan.groups():
            if not group.implied and group.size > 1:
                same.setdefault((group.grid, group.joined, group.partition), []).append(group)
        return tuple(
            GroupSpread(
                group=first,
                crossing=crossing(first, self.per_node),
                others=tuple(other.name for other in others),
            )
            for first, *others in same.values()
        )


def node_plan(plan: Plan, available: int, per_node: int | None = None) -> NodePlan:
    """A world on nodes with `available` places each; `per_node` is chosen unless it is given.

    First, no tp and etp groups are to cross nodes, then no ep groups, as far as any number of ranks
    a node can have it so: their collectives stand inside every layer, and one slow group holds up
    all ranks. Then there are to be few nodes, few crossing groups of any sort, as many ranks on the
    last node as on the others, and many on each. `ValueError` for numbers beyond 1 to `LARGEST`.
    """
    for number in (available, available if per_node is None else per_node):
        if not 1 <= number <= LARGEST:
            raise ValueError(f"a node has 1 to {LARGEST} ranks, not {number:,}")
    if per_node is not None:
        return NodePlan(plan=plan, per_node=min(per_node, plan.world), why="as asked for")
    most = min(available, plan.world)
    best = min(range(1, most + 1), key=lambda number: _cost(plan, number))
    return NodePlan(plan=plan, per_node=best, why=_why(plan, best, most))


def crossing(group: GroupPlan, per_node: int) -> int:
    """How many groups of one name have members on several nodes."""
    if group.joined:
        last = group.blocks[-1]
        ends = group.blocks[0].start, last[len(last) - 1].last
        return int(ends[0] // per_node != ends[1] // per_node)
    return sum(block_crossing(block, per_node) for block in group.blocks)


def block_crossing(block: Groups, per_node: int) -> int:
    """How many of some groups have members on several nodes.

    Counted by where groups begin in a node, not group by group. A group that begins at place p of a
    node and reaches `extent` ranks further stays inside if that is before the node's end.
    """
    extent = sum((factor.size - 1) * factor.stride for factor in block.inner)
    if extent >= per_node:
        return len(block)
    return sum(_begins(block, per_node)[per_node - extent :])


def together(block: Groups, per_node: int) -> int:
    """How many members of a group share a node: on the node with the fewest of them, in the groups
    where these are most. Of a very large group as many as a node could have at all.
    """
    if block.size > _COUNTED:
        return prod(min(factor.size, -(-per_node // factor.stride)) for factor in block.inner)
    places = (place for place, number in enumerate(_begins(block, per_node)) if number)
    spelled = (Ranks(start=place, factors=block.inner) for place in places)
    return max(min(Counter(rank // per_node for rank in ranks).values()) for ranks in spelled)


def _begins(block: Groups, per_node: int) -> list[int]:
    """How many groups begin at each place of a node."""
    begins = [0] * per_node
    begins[block.start % per_node] = 1
    for factor in block.outer:
        begins = _repeated(begins, factor.size, factor.stride)
    return begins


def _repeated(counts: list[int], times: int, stride: int) -> list[int]:
    """The sum of `times` copies, each turned `stride` places further than the last, by halving."""
    if times == 1:
        return counts
    half = _repeated(counts, times // 2, stride)
    both = _sum(half, _turned(half, times // 2 * stride))
    return both if times % 2 == 0 else _sum(both, _turned(counts, (times - 1) * stride))


def _turned(counts: list[int], by: int) -> list[int]:
    cut = -by % len(counts)
    return counts[cut:] + counts[:cut]


def _sum(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _nodes(plan: Plan, per_node: int) -> int:
    return -(-plan.world // per_node)


def _cost(plan: Plan, per_node: int) -> tuple[int, ...]:
    return (
        len(_crossed(plan, _TENSOR, per_node)),
        len(_crossed(plan, _EXPERT, per_node)),
        _nodes(plan, per_node),
        sum(crossing(group, per_node) for group in plan.groups() if not group.implied),
        plan.world % per_node > 0,
        -per_node,
    )


def _crossed(plan: Plan, along: tuple[tuple[str, ...], ...], per_node: int) -> list[str]:
    """The names of groups along these axes that cross nodes."""
    return [group.name for group in _heavy(plan, along) if crossing(group, per_node)]


def _heavy(plan: Plan, along: tuple[tuple[str, ...], ...]) -> Iterator[GroupPlan]:
    for group in plan.groups():
        if group.kind is GroupKind.AXES and group.axes in along and not group.implied:
            yield group


def _why(plan: Plan, best: int, most: int) -> str:
    heavy = (*_TENSOR, *_EXPERT)
    crossed = _crossed(plan, heavy, best)
    if best == most:
        fills = "all ranks on one node" if best == plan.world else "as many as a node takes"
        return f"{fills}; {_listed(crossed)} cross nodes at any number" if crossed else fills
    kept = [name for name in _crossed(plan, heavy, most) if name not in crossed]
    if kept:
        return f"not {most}: then {_listed(kept)} would cross nodes"
    if _nodes(plan, best) == _nodes(plan, most):
        return f"not {most}: the same number of nodes, more evenly filled"
    return f"not {most}: fewer groups cross nodes"


def _listed(names: list[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(islice(names, limit)) + more
