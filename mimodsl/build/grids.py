"""HyperCommGrids from a plan's grids, with every process group that Megatron will ask them for."""

from collections.abc import Iterable
from typing import Any, Final, cast

import torch.distributed as dist
from attrs import frozen
from megatron.core.hyper_comm_grid import HyperCommGrid

from mimodsl.plan.grids import BASE_VIEW, GridPlan, ViewPlan
from mimodsl.plan.groups import GroupKind, GroupPlan, grid_groups

_THEIR_AXES: Final = {"etp": "expt_tp", "edp": "expt_dp"}
"""The axes that megatron-core's optimizer knows by another name (models/mimo/optimizer.py:345)."""


@frozen(kw_only=True, eq=False)
class GridGroups:
    """One grid with its process groups created.

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


def build_grids(plans: Iterable[GridPlan]) -> dict[str, GridGroups]:
    """Create every grid and group of a plan, by grid name.

    Collective over the world: every rank creates every group, member or not, in the plan's order.
    """
    return {plan.name: _build(plan) for plan in plans}


def _megatron_axes(names: Iterable[str]) -> list[str]:
    """Our axis names in megatron-core's words."""
    return [_THEIR_AXES.get(name, name) for name in names]


def comm_grid(plan: GridPlan) -> HyperCommGrid:
    """A grid with all its views and no process group, which needs no `torch.distributed` yet.

    Raises `RuntimeError` where neither that nor `WORLD_SIZE` in the environment says how large the
    world is, or it is too small.
    """
    base, *others = plan.views
    comm = HyperCommGrid(
        list(base.layout.sizes), _megatron_axes(base.layout.names), rank_offset=plan.offset
    )
    for view in others:
        _register(comm, view)
    return comm


def _build(plan: GridPlan) -> GridGroups:
    comm = comm_grid(plan)
    # The axis groups come first in the plan's order: where pp is 1, embeddings live along it.
    embedding = None
    for group in grid_groups(plan):
        if group.kind is GroupKind.EMBEDDING:
            embedding = _embedding_group(group)
        else:
            comm.create_pg(
                _megatron_axes(group.axes), view=_view_name(group.view), group_desc=group.name
            )
    if plan.axis("pp") == 1 and comm.is_current_rank_in_grid():
        embedding = comm.get_pg("pp")
    return GridGroups(
        name=plan.name, comm=comm, has_experts=not plan.expert_implied, embedding=embedding
    )


def _register(comm: HyperCommGrid, view: ViewPlan) -> None:
    comm.register_view(
        view.name,
        list(view.layout.sizes),
        _megatron_axes(view.layout.names),
        shared_dims=_megatron_axes(view.shared),
    )


def _view_name(name: str) -> str | None:
    return None if name == BASE_VIEW else name


def _embedding_group(plan: GroupPlan) -> dist.ProcessGroup | None:
    ranks = [list(members) for members in plan]
    group, _ = cast(Any, dist).new_subgroups_by_enumeration(ranks, group_desc=plan.name)
    return group
