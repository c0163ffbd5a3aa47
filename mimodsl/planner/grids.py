"""The grids of a plan: every rank span with all its views resolved."""

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import frozen

from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, PP, TP
from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES, EXPERT_VIEW, Grid, View
from mimodsl.ir.spec import Spec
from mimodsl.planner.ranks import Factorization, Ranks

BASE_VIEW: Final = "base"
"""What megatron-core calls the first view, whatever a spec calls it (hyper_comm_grid.py,
"_BASE_VIEW_NAME =")."""


@frozen(kw_only=True)
class ViewPlan:
    """One factorization of a grid's ranks.

    `name` is the name that megatron-core gets: `base`, `expert`, or the user's own. `shared` axes
    are those of the base view. An `implied` view was declared by nobody: no expert is placed by it.
    """

    name: str
    layout: Factorization
    shared: tuple[str, ...] = ()
    implied: bool = False


@frozen(kw_only=True)
class GridPlan:
    """One grid: its ranks and its views, the base view first and the expert view second.

    Both have all axes of their family, those that the spec leaves out last and of size 1, so that a
    group along any of them exists.
    """

    name: str
    ranks: range
    views: tuple[ViewPlan, ...]

    @property
    def offset(self) -> int:
        return self.ranks.start

    @property
    def world(self) -> int:
        """Ranks of this grid."""
        return len(self.ranks)

    @property
    def base(self) -> Factorization:
        return self.views[0].layout

    @property
    def expert(self) -> Factorization:
        return self.views[1].layout

    @property
    def expert_implied(self) -> bool:
        """Whether the spec declares no expert view: the grid is dense."""
        return self.views[1].implied

    @property
    def others(self) -> tuple[ViewPlan, ...]:
        """Views of the user's own."""
        return self.views[2:]

    def axis(self, name: str) -> int:
        """The size of an axis of the base view."""
        return self.base.axis(name)

    def coordinates(self, rank: int) -> dict[str, dict[str, int]]:
        """A rank's coordinates in every declared view, by the view's name.

        `ValueError` outside the grid.
        """
        return {view.name: view.layout.coordinates(rank) for view in self.views if not view.implied}

    def stage(self, stage: int) -> Ranks:
        """The ranks of one pipeline stage, ascending along tp, cp and dp."""
        return self.base.groups((TP, CP, DP), at={PP: stage})[0]


def grid_plans(spec: Spec) -> tuple[GridPlan, ...]:
    """The grids of a spec, in its order."""
    spans = spec.rank_spans
    return tuple(
        GridPlan(
            name=grid.name, ranks=spans[grid.name], views=tuple(_views(grid, spans[grid.name]))
        )
        for grid in spec.grids
    )


def _views(grid: Grid, ranks: range) -> Iterator[ViewPlan]:
    base = Factorization(start=ranks.start, axes=_completed(dict(grid.sizes(grid.base)), BASE_AXES))
    yield ViewPlan(name=BASE_VIEW, layout=base)
    if grid.expert is None:
        yield _implied_expert_view(base)
    else:
        yield _view(grid, grid.expert, ranks, complete=(*EXPERT_AXES, PP))
    for view in grid.views[1:]:
        if view.name != EXPERT_VIEW:
            yield _view(grid, view, ranks)


def _view(grid: Grid, view: View, ranks: range, complete: tuple[str, ...] = ()) -> ViewPlan:
    axes = _completed(dict(grid.sizes(view)), complete)
    own = {axis.name for axis in view.axes if axis.size is not None} | set(EXPERT_AXES)
    layout = Factorization(start=ranks.start, axes=axes)
    if layout.size != len(ranks):
        raise ValueError(
            f"view {view.name} of grid {grid.name} covers {layout.size} ranks, not {len(ranks)}"
        )
    return ViewPlan(
        name=view.name, layout=layout, shared=tuple(name for name, _ in axes if name not in own)
    )


def _implied_expert_view(base: Factorization) -> ViewPlan:
    """The base view under other names: the one choice that covers the same ranks and keeps pp where
    it is for every order of axes. DDP and the optimizer want its groups of every module
    (models/mimo/optimizer.py, "def _get_pg_collection_for_optimizer"; process_groups_config.py,
    "def setup_process_groups_for_ddp")."""
    renamed = {TP: ETP, CP: EP, DP: EDP}
    axes = tuple((renamed.get(name, name), size) for name, size in base.axes)
    layout = Factorization(start=base.start, axes=axes)
    return ViewPlan(name=EXPERT_VIEW, layout=layout, shared=(PP,), implied=True)


def _completed(axes: Mapping[str, int], names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    return (*axes.items(), *((name, 1) for name in names if name not in axes))
