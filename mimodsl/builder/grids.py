"""HyperCommGrids from a plan's grids, with every process group that Megatron will ask them for."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch.distributed as dist
from megatron.core.hyper_comm_grid import HyperCommGrid

from mimodsl.builder.groups import Groups
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupKind, GroupPlan, grid_groups
from mimodsl.planner.program.topology import megatron_axes, rank_grid
from mimodsl.planner.program.values import RankGrid


class GridGroups(NamedTuple):
    """One grid with its process groups.

    `has_experts` says whether the spec declares an expert view; `comm` has one in any case.
    `embedding` joins the first and last pipeline stage, where word embeddings live; a rank of any
    other stage has it to itself. It is `None` on ranks outside the grid.
    """

    name: str
    comm: HyperCommGrid
    has_experts: bool
    embedding: dist.ProcessGroup | None

    @property
    def is_member(self) -> bool:
        """Whether this process is one of the grid's ranks."""
        return self.comm.is_current_rank_in_grid()


def build_grids(plans: Iterable[GridPlan], groups: Groups) -> dict[str, GridGroups]:
    """The grids of a plan with its groups, by grid name."""
    return {plan.name: _build(plan, groups) for plan in plans}


def comm_grid(grid: RankGrid) -> HyperCommGrid:
    """A grid with all its views and no process group, which needs no `torch.distributed` yet.

    Raises `RuntimeError` where neither that nor `WORLD_SIZE` in the environment says how large the
    world is, or it is too small.
    """
    comm = HyperCommGrid(grid.sizes, grid.axes, rank_offset=grid.offset)
    for view in grid.views:
        comm.register_view(view.name, view.sizes, view.axes, shared_dims=view.shared)
    return comm


def _build(plan: GridPlan, groups: Groups) -> GridGroups:
    comm = comm_grid(rank_grid(plan))
    embedding = None
    for group in grid_groups(plan):
        if group.kind is GroupKind.EMBEDDING:
            embedding = groups[group.name]
        else:
            _enter(comm, group, groups[group.name])
    if plan.axis("pp") == 1 and comm.is_current_rank_in_grid():
        embedding = comm.get_pg("pp")
    return GridGroups(
        name=plan.name, comm=comm, has_experts=not plan.expert_implied, embedding=embedding
    )


def _enter(comm: HyperCommGrid, plan: GroupPlan, group: dist.ProcessGroup | None) -> None:
    """Have the grid's `get_pg` give this group for axes of a view.

    `create_pg` of megatron-core makes a group for every set of axes, and knows of none that
    is there already. So the group goes where it would have put it (hyper_comm_grid.py,
    "self._pgs[unique_group_key] = pg"), under the key that it works out itself.
    """
    grid = cast(Any, comm)
    view = grid._resolve_view(plan.view)  # noqa: SLF001
    axes, _ = grid._order_dims_for_view(view, megatron_axes(plan.axes))  # noqa: SLF001
    key, _, _ = grid._canonical_pg_key_and_enum_view(view, axes)  # noqa: SLF001
    assert key not in grid._pgs  # noqa: SLF001
    grid._pgs[key] = group  # noqa: SLF001
