"""Communicators: which names of groups one of them serves, and which need one of their own.

megatron-core makes a group for every name. Many names have the same members, and what one
carries is never under way at the same time as what another one does: they share a communicator.
"""

from collections.abc import Collection, Iterable, Iterator
from enum import Enum
from itertools import accumulate
from typing import Final

import attrs
from attrs import frozen

from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, PP, TP
from mimodsl.ir.grid import EXPERT_VIEW
from mimodsl.planner.grids import BASE_VIEW
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.plan import Plan
from mimodsl.planner.ranks import Members

SHARE: Final = True
"""Whether names share communicators where nobody says."""


class Traffic(Enum):
    """What a group carries, by when it is under way."""

    LAYERS = "layers"
    EXPERTS = "experts"
    REPLICAS = "replicas"
    STAGES = "stages"
    STEP = "step"
    OWN = "own"


TRAFFIC: Final = {
    Traffic.LAYERS: "within a pass, one call after the other: layers, the router's statistics, and "
    "what bridges broadcast and gather before and after them",
    Traffic.EXPERTS: "tokens on their way to experts and back, and their counts "
    "(transformer/moe/token_dispatcher.py)",
    Traffic.REPLICAS: "gradients and parameters between replicas, by DDP and its distributed "
    "optimizer (distributed/param_and_grad_buffer.py)",
    Traffic.STAGES: "messages between pipeline stages and between the leaders of a bridge "
    "(pipeline_parallel/p2p_communication.py, bridge_communicator.py)",
    Traffic.STEP: "between the last pass of a step and the first of the next, one call after the "
    "other: tied embeddings, norms; or nothing",
    Traffic.OWN: "whatever code of the user's own sends along a view that megatron-core lacks",
}
"""What each kind of traffic is."""

_ALONG_BASE: Final[dict[tuple[str, ...], Traffic]] = {
    (TP,): Traffic.LAYERS,
    (CP,): Traffic.LAYERS,
    (TP, CP): Traffic.LAYERS,
    (TP, DP, CP): Traffic.LAYERS,
    (DP, CP): Traffic.REPLICAS,
    (PP,): Traffic.STAGES,
    (DP,): Traffic.STEP,
    (TP, PP): Traffic.STEP,
    (TP, CP, DP, PP): Traffic.STEP,
}
_ALONG_EXPERT: Final[dict[tuple[str, ...], Traffic]] = {
    (ETP,): Traffic.EXPERTS,
    (EP,): Traffic.EXPERTS,
    (ETP, EP): Traffic.EXPERTS,
    (EDP,): Traffic.REPLICAS,
    (ETP, EP, PP): Traffic.STEP,
}
_ELSEWHERE: Final = {
    GroupKind.EMBEDDING: Traffic.STEP,
    GroupKind.SENDERS: Traffic.LAYERS,
    GroupKind.RECEIVERS: Traffic.LAYERS,
    GroupKind.GATHER: Traffic.LAYERS,
    GroupKind.LEADERS: Traffic.STAGES,
}


class When(Enum):
    """In which specs two kinds of traffic run at once."""

    ALWAYS = "always"
    SHARED_OVERLAP = "with `shared_overlap`"
    DDP_OVERLAP = "with `overlap_grad_reduce` or `overlap_param_gather`"

    def holds(self, planned: Plan) -> bool:
        """Whether this is so in the spec of a plan."""
        if self is When.SHARED_OVERLAP:
            experts = (module.moe for module in planned.modules.values())
            return any(moe is not None and moe.shared_overlap for moe in experts)
        if self is When.DDP_OVERLAP:
            ddp = planned.spec.train.ddp
            return ddp.overlap_grad_reduce or ddp.overlap_param_gather
        return True


@frozen
class Apart:
    """Two kinds of traffic of which each has communicators of its own, and why.

    A communicator carries one thing after the other, in the order in which it was asked to, and
    that order has to be the same on all of its ranks.
    """

    kinds: tuple[Traffic, Traffic]
    when: When
    why: str


APART: Final = (
    Apart(
        (Traffic.LAYERS, Traffic.EXPERTS),
        When.SHARED_OVERLAP,
        "the shared expert's tp collectives run on a stream of their own while tokens travel "
        '(transformer/moe/shared_experts.py, "def pre_forward_comm"): behind each other, '
        "nothing would overlap",
    ),
    Apart(
        (Traffic.LAYERS, Traffic.REPLICAS),
        When.DDP_OVERLAP,
        "reductions and gathers are under way during passes "
        '(distributed/param_and_grad_buffer.py, "def start_grad_sync"): a layer\'s collective '
        "would wait for a whole bucket",
    ),
    Apart(
        (Traffic.EXPERTS, Traffic.REPLICAS),
        When.DDP_OVERLAP,
        "tokens would wait for a whole bucket, on all ranks that hold experts",
    ),
    Apart(
        (Traffic.REPLICAS, Traffic.REPLICAS),
        When.DDP_OVERLAP,
        "hooks start a bucket when its last gradient is there: dense weights, experts and other "
        "modules come in no order that all ranks are bound to",
    ),
    Apart(
        (Traffic.STAGES, Traffic.REPLICAS),
        When.DDP_OVERLAP,
        "the next stage would wait for a whole bucket",
    ),
    *(
        Apart(
            (Traffic.STAGES, other),
            When.ALWAYS,
            "the ranks of a pipeline are in different passes at a time: their messages and a "
            "layer's collectives come in no order that both ends keep",
        )
        for other in (Traffic.LAYERS, Traffic.EXPERTS)
    ),
    *(
        Apart((Traffic.OWN, other), When.ALWAYS, "no one but the user knows when it runs")
        for other in Traffic
        if other is not Traffic.OWN
    ),
)
"""Every pair that runs at once. All others take turns and share; so does what has one rank, which
moves nothing."""


def traffic(group: GroupPlan) -> Traffic:
    """What the groups of a name carry; `STEP` where an implied view has nothing for them."""
    if group.kind is not GroupKind.AXES:
        return _ELSEWHERE[group.kind]
    if group.implied:
        return Traffic.STEP
    along = {BASE_VIEW: _ALONG_BASE, EXPERT_VIEW: _ALONG_EXPERT}.get(group.view, {})
    return along.get(group.axes, Traffic.OWN)


def names_of(kind: Traffic) -> tuple[str, ...]:
    """The names that carry a kind of traffic, as they are after the grid's or the bridge's."""
    along = [*_ALONG_BASE.items(), *_ALONG_EXPERT.items()]
    return (
        *("-".join(axes) for axes, carried in along if carried is kind),
        *(group.value for group, carried in _ELSEWHERE.items() if carried is kind),
    )


@frozen(kw_only=True)
class CommunicatorPlan:
    """Disjoint communicators of equal size, each made once for all the names that it carries.

    They are the groups of the first of `names`; of any other one they are some groups, or all. In
    the world's one list of communicators `first` is the place of the first of them.
    """

    names: tuple[GroupPlan, ...]
    first: int

    @property
    def made(self) -> GroupPlan:
        """The name that they are made under."""
        return self.names[0]

    @property
    def count(self) -> int:
        return self.made.count

    def of(self, rank: int) -> Members | None:
        """The members of a rank's own communicator, ascending; `None` for a rank in none."""
        return self.made.of(rank)

    def carries(self, rank: int) -> tuple[str, ...]:
        """The names of a rank's own communicator."""
        return tuple(group.name for group in self.names if group.of(rank) is not None)

    def place(self, rank: int) -> int | None:
        """Where a rank's own communicator stands in the world's list."""
        if self.made.joined:
            return None if self.of(rank) is None else self.first
        index = self.made.blocks[0].index(rank)
        return None if index is None else self.first + index


def communicators(planned: Plan, *, share: bool = SHARE) -> tuple[CommunicatorPlan, ...]:
    """Every communicator of a plan, in the order in which its members make it.

    Where names don't `share`, each has its own. All ranks come to the same list, which costs as
    much for any world; a rank is in those that have members for it.
    """
    active = frozenset(frozenset(apart.kinds) for apart in APART if apart.when.holds(planned))
    made: list[list[GroupPlan]] = []
    for group in _by_blocks(planned.groups()):
        host = next((names for names in made if share and _serves(names, group, active)), None)
        if host is None:
            made.append([group])
        else:
            host.append(group)
    firsts = accumulate((names[0].count for names in made), initial=0)
    return tuple(
        CommunicatorPlan(names=tuple(names), first=first)
        for names, first in zip(made, firsts, strict=False)
    )


def _by_blocks(groups: Iterable[GroupPlan]) -> Iterator[GroupPlan]:
    """A name for each block of its own, whose groups are of one size."""
    for group in groups:
        if group.joined:
            yield group
        else:
            yield from (attrs.evolve(group, blocks=(block,)) for block in group.blocks)


def _serves(
    names: list[GroupPlan], group: GroupPlan, apart: Collection[frozenset[Traffic]]
) -> bool:
    """Whether a communicator of these names can serve the groups of another name, too."""
    made = names[0]
    if made.joined or group.joined:
        return made.joined and group.joined and made.partition == group.partition
    if not made.blocks[0].includes(group.blocks[0]):
        return False
    kinds = (frozenset((traffic(one), traffic(group))) for one in names)
    return group.size == 1 or not any(pair in apart for pair in kinds)


def a_rank(planned: Plan, rank: int, *, share: bool = SHARE) -> int:
    """How many communicators a rank is in, the world's own left out."""
    return sum(one.of(rank) is not None for one in communicators(planned, share=share))


def most(planned: Plan, *, share: bool = SHARE) -> int:
    """How many communicators the rank with the most is in, the world's own left out.

    Ranks differ by whether their stage is the first, the last or between, and within it by whether
    they lead at a bridge: the first or the last does.
    """
    every = communicators(planned, share=share)
    ends = ((grid, grid.axis(PP) - 1) for grid in planned.grids)
    stages = (grid.stage(stage) for grid, last in ends for stage in {0, min(1, last), last})
    return max(
        sum(one.of(rank) is not None for one in every)
        for stage in stages
        for rank in (stage.start, stage.last)
    )
