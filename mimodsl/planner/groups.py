"""Every process group that a grid needs, by name and in the one order in which all ranks make them.

Making a group is collective over the world, and torch names groups by a counter in each process
(torch/distributed/distributed_c10d.py): members or not, all ranks follow this list from the top.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from attrs import frozen

from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, PP, TP
from mimodsl.planner.grids import BASE_VIEW, GridPlan, ViewPlan
from mimodsl.planner.ranks import Factor, Groups, Members, Union

BASE_AXIS_SETS: Final = (
    (TP,),
    (CP,),
    (DP,),
    (PP,),
    (TP, CP),
    (TP, PP),
    (DP, CP),
    (TP, DP, CP),
    (TP, CP, DP, PP),
)
"""Along the base view: what layers, DDP, the optimizer and gradient finalisation ask for
(process_groups_config.py, "with_egtp_remat=True) … ValueError"; models/mimo/optimizer.py,
"def _get_pg_collection_for_optimizer"; finalize_model_grads.py)."""

EXPERT_AXIS_SETS: Final = (
    (ETP,),
    (EP,),
    (EDP,),
    (ETP, EP),
    (ETP, EP, PP),
)
"""Along the expert view, declared or implied."""


class GroupKind(Enum):
    """What a group is for: the axes of a view, tied embeddings, or the bridge of a flow."""

    AXES = "axes"
    EMBEDDING = "embedding"
    SENDERS = "senders"
    RECEIVERS = "receivers"
    LEADERS = "leaders"
    GATHER = "gather"


@frozen(kw_only=True)
class GroupPlan:
    """One name for the disjoint process groups that one call makes.

    `blocks` enumerate them in the order in which they are made; where `joined`, they are parts of
    a single group. Along `axes` of `view` the members of a group differ. `implied` groups belong to
    a view that the spec does not declare.
    """

    name: str
    kind: GroupKind
    blocks: tuple[Groups, ...]
    joined: bool = False
    grid: str = ""
    view: str = ""
    axes: tuple[str, ...] = ()
    implied: bool = False

    @property
    def count(self) -> int:
        """Process groups made under this name."""
        return 1 if self.joined else sum(map(len, self.blocks))

    @property
    def size(self) -> int:
        """Members of the largest group."""
        sizes = [block.size for block in self.blocks]
        return sum(sizes) if self.joined else max(sizes)

    def of(self, rank: int) -> Members | None:
        """The members of a rank's own group, ascending; `None` for a rank in none."""
        found = (block.of(rank) for block in self.blocks)
        own = next((group for group in found if group is not None), None)
        return own if own is None or not self.joined else next(iter(self))

    def __iter__(self) -> Iterator[Members]:
        """Every group, one at a time."""
        if self.joined:
            yield Union(tuple(group for block in self.blocks for group in block))
            return
        for block in self.blocks:
            yield from block

    @property
    def partition(self) -> frozenset[Groups]:
        """Equal for two names of which one would do: their groups have the same members."""
        return frozenset(block.partition for block in self.blocks)


def grid_groups(grid: GridPlan) -> Iterator[GroupPlan]:
    """The groups of one grid, in the order in which they are made.

    Axes shared with the base view have their groups there: `llm.pp` is the experts' pp, too.
    """
    base, expert, *others = grid.views
    for axes in BASE_AXIS_SETS:
        yield _along(grid, base, axes)
    for axes in EXPERT_AXIS_SETS:
        yield _along(grid, expert, axes)
    for view in others:
        for axis in view.layout.names:
            if axis not in view.shared:
                yield _along(grid, view, (axis,))
    if grid.axis(PP) > 1:
        yield _embedding(grid)


def _along(grid: GridPlan, view: ViewPlan, axes: tuple[str, ...]) -> GroupPlan:
    path = (grid.name,) if view.name == BASE_VIEW else (grid.name, view.name)
    return GroupPlan(
        name=".".join((*path, "-".join(axes))),
        kind=GroupKind.AXES,
        blocks=(view.layout.groups(axes),),
        grid=grid.name,
        view=view.name,
        axes=axes,
        implied=view.implied,
    )


def _embedding(grid: GridPlan) -> GroupPlan:
    """The first and the last stage of each pipeline, where tied word embeddings live
    (parallel_state.default_embedding_ranks); every stage between has a group to itself."""
    stages = grid.axis(PP)
    pipelines = grid.base.groups((PP,))
    (along,) = pipelines.inner
    ends = Groups(
        start=pipelines.start,
        inner=(Factor(2, (stages - 1) * along.stride),),
        outer=pipelines.outer,
    )
    between = Groups(
        start=pipelines.start + along.stride,
        inner=(),
        outer=(Factor(stages - 2, along.stride), *pipelines.outer),
    )
    return GroupPlan(
        name=f"{grid.name}.embedding",
        kind=GroupKind.EMBEDDING,
        blocks=(ends, between) if stages > 2 else (ends,),
        grid=grid.name,
        view=BASE_VIEW,
        axes=(PP,),
    )
