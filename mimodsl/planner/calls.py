"""One call of a collective, and the bytes that it puts on the wire."""

from enum import Enum
from typing import Final

from attrs import frozen

from mimodsl.ir.axes import CP, DP, EP, PP, TP
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind, grid_groups

WORLD: Final = "world"
"""The group of all ranks, which no grid makes."""


class CallKind(Enum):
    """The collective of a call, with the name that nccl-tests has for it."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"
    BROADCAST = "broadcast"
    SEND = "send"
    RECEIVE = "receive"


class Purpose(Enum):
    """The purpose of a call: the axis that it comes from, a bridge, or the end of a step."""

    TENSOR = TP
    CONTEXT = CP
    EXPERTS = EP
    PIPELINE = PP
    BRIDGE = "bridge"
    REPLICAS = DP
    STEP = "step"


@frozen(kw_only=True)
class CallGroup:
    """The process group of a call: its name in the plan, and its number of `members`."""

    name: str
    members: int
    purpose: Purpose


@frozen(kw_only=True)
class Call:
    """A call over one group, `times` times.

    `size` is the message in bytes, as nccl-tests counts it: the tensor of an all-reduce or a
    broadcast; all members' parts together of an all-gather, a reduce-scatter or an all-to-all.
    """

    group: CallGroup
    kind: CallKind
    size: int
    times: int = 1

    @property
    def bytes(self) -> int:
        """Message bytes of all repetitions."""
        return self.size * self.times

    @property
    def wire(self) -> int:
        """Bytes that a rank moves: message bytes times nccl-tests' bus bandwidth factor.

        A ring of n ranks moves 2 (n - 1) / n of an all-reduce, (n - 1) / n of an all-gather, a
        reduce-scatter or an all-to-all, and all of a broadcast or of a message between two ranks
        (nccl-tests doc/PERFORMANCE.md).
        """
        n = self.group.members
        match self.kind:
            case CallKind.ALL_REDUCE:
                return 2 * (n - 1) * self.bytes // n
            case CallKind.ALL_GATHER | CallKind.REDUCE_SCATTER | CallKind.ALL_TO_ALL:
                return (n - 1) * self.bytes // n
            case _:
                return self.bytes

    @property
    def sent(self) -> int:
        """Bytes that a rank sends."""
        return 0 if self.kind is CallKind.RECEIVE else self.wire

    @property
    def received(self) -> int:
        """Bytes that a rank receives; in a ring as many as it sends."""
        return 0 if self.kind is CallKind.SEND else self.wire


def call_groups(grid: GridPlan) -> dict[tuple[str, ...], CallGroup]:
    """The groups of a grid along axes of its base and its expert view, by these axes."""
    views = {view.name for view in grid.views[:2]}
    return {
        group.axes: CallGroup(name=group.name, members=group.size, purpose=_purpose(group.axes))
        for group in grid_groups(grid)
        if group.kind is GroupKind.AXES and group.view in views
    }


def _purpose(axes: tuple[str, ...]) -> Purpose:
    match axes:
        case ("tp",):
            return Purpose.TENSOR
        case ("cp",):
            return Purpose.CONTEXT
        case ("pp",):
            return Purpose.PIPELINE
        case ("ep",) | ("etp",) | ("etp", "ep"):
            return Purpose.EXPERTS
        case ("dp", "cp") | ("edp",):
            return Purpose.REPLICAS
        case _:
            return Purpose.STEP
