"""HyperCommGrids from a spec's grids, with every process group that Megatron will ask them for."""

from collections.abc import Mapping
from typing import Final

import torch.distributed as dist
from attrs import frozen
from megatron.core.hyper_comm_grid import HyperCommGrid

from mimodsl.ir.grid import BASE_AXES, EXPERT_VIEW, Grid
from mimodsl.ir.spec import Spec

type Axes = tuple[tuple[str, int], ...]
"""Axis names with their sizes, the fastest-varying first."""

_EXPERT_AXES: Final = {"etp": "expt_tp", "ep": "ep", "edp": "expt_dp", "pp": "pp"}
"""Our names of the expert axes, and megatron-core's (models/mimo/optimizer.py:345)."""

_BASE_GROUPS: Final = (
    ("tp",),
    ("cp",),
    ("dp",),
    ("pp",),
    ("tp", "cp"),
    ("tp", "pp"),
    ("cp", "dp"),
    ("tp", "cp", "dp"),
    ("tp", "cp", "dp", "pp"),
)
_EXPERT_GROUPS: Final = (
    ("expt_tp",),
    ("ep",),
    ("expt_dp",),
    ("expt_tp", "ep"),
    ("expt_tp", "ep", "pp"),
)


@frozen(kw_only=True, eq=False)
class GridGroups:
    """One grid of the spec with its process groups created.

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


def build_grids(spec: Spec) -> dict[str, GridGroups]:
    """Create every grid and group of a spec, by grid name.

    Collective over the world: every rank creates every group, member or not, in the same order.
    Anything else hangs, because torch names groups by a counter in each process.
    """
    spans = spec.rank_spans
    return {grid.name: _build(grid, spans[grid.name]) for grid in spec.grids}


def base_axes(grid: Grid) -> Axes:
    """The base view with all four axes, those that the spec leaves out last and of size 1."""
    return _completed(dict(grid.sizes(grid.base)), BASE_AXES)


def expert_axes(grid: Grid) -> Axes:
    """The expert view under megatron-core's names; implied by the base view where none is declared.

    The implied view renames tp, cp, dp to expt_tp, ep, expt_dp: the one choice that covers the same
    ranks and keeps pp where it is for every order of axes. No expert is ever placed by it.
    """
    if grid.expert is None:
        renamed = {"tp": "expt_tp", "cp": "ep", "dp": "expt_dp", "pp": "pp"}
        return tuple((renamed[name], size) for name, size in base_axes(grid))
    declared = {_EXPERT_AXES[name]: size for name, size in grid.sizes(grid.expert)}
    return _completed(declared, tuple(_EXPERT_AXES.values()))


def _completed(axes: Mapping[str, int], names: tuple[str, ...]) -> Axes:
    return (*axes.items(), *((name, 1) for name in names if name not in axes))


def _build(grid: Grid, span: range) -> GridGroups:
    names, sizes = zip(*base_axes(grid), strict=True)
    comm = HyperCommGrid(list(sizes), list(names), rank_offset=span.start)
    for dims in _BASE_GROUPS:
        comm.create_pg(list(dims), group_desc=_describe(grid, dims))
    _add_view(comm, EXPERT_VIEW, expert_axes(grid), shared=["pp"])
    for dims in _EXPERT_GROUPS:
        comm.create_pg(list(dims), view=EXPERT_VIEW, group_desc=_describe(grid, dims))
    _add_other_views(comm, grid)
    return GridGroups(
        name=grid.name,
        comm=comm,
        has_experts=grid.expert is not None,
        embedding=_embedding_group(comm),
    )


def _add_view(comm: HyperCommGrid, name: str, axes: Axes, shared: list[str]) -> None:
    names, sizes = zip(*axes, strict=True)
    comm.register_view(name, list(sizes), list(names), shared_dims=shared)


def _add_other_views(comm: HyperCommGrid, grid: Grid) -> None:
    """Views of the user's own: a group for each of their axes, and no meaning to Megatron."""
    for view in grid.views[1:]:
        if view.name == EXPERT_VIEW:
            continue
        shared = [axis.name for axis in view.axes if axis.size is None]
        _add_view(comm, view.name, grid.sizes(view), shared)
        for axis in view.axes:
            if axis.size is not None:
                description = f"{grid.name}.{view.name}.{axis.name}"
                comm.create_pg(axis.name, view=view.name, group_desc=description)


def _describe(grid: Grid, dims: tuple[str, ...]) -> str:
    return f"{grid.name}.{'-'.join(dims)}"


def _embedding_group(comm: HyperCommGrid) -> dist.ProcessGroup | None:
    """As parallel_state.default_embedding_ranks, but with a group for the stages between, too."""
    pipelines = comm.get_rank_enum("pp")
    if len(pipelines[0]) == 1:
        return comm.get_pg("pp") if comm.is_current_rank_in_grid() else None
    ends = [[ranks[0], ranks[-1]] for ranks in pipelines]
    between = [[rank] for ranks in pipelines for rank in ranks[1:-1]]
    group, _ = dist.new_subgroups_by_enumeration(ends + between)
    return group
