"""Rules about one grid: the names and sizes of its axes."""

from math import prod
from typing import Final

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import (
    GRID,
    VIEW,
    GridView,
    is_sound,
)
from mimodsl.diagnostics import Edit
from mimodsl.diagnostics.suggest import corrected, did_you_mean
from mimodsl.ir import Axis, Grid, View
from mimodsl.ir.axes import CP, DP, EDP, EP, ETP, TP
from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES, EXPERT_VIEW
from mimodsl.source import Span


@rule(
    "MIMO302",
    "stated ranks that differ from the base view",
    scope=GRID,
    cost=Cost.UNCLEAR,
)
def stated_ranks(spec: Context, grid: Grid) -> Findings:
    """`ranks` states the number of ranks of a grid, which is the product of the axes of its base
    view.

    If the two differ, one of them is a mistake. It decides where every later grid begins in the
    world.

    Example:
        grid llm {
          ranks = 8
          dense = tp:2 * dp:3
        }
    """
    if grid.ranks is None or not is_sound(grid) or grid.ranks == grid.world:
        return
    names = "·".join(axis.name for axis in grid.base.axes)
    help_line = f"{code(f'ranks = {grid.world}')} matches the axes"
    dp = grid.size(DP)
    rest = grid.world // dp
    if grid.base.axis(DP) is not None and grid.ranks % rest == 0:
        help_line = f"{code(f'dp:{grid.ranks // rest}')} makes {grid.ranks} ranks, or {help_line}"
    yield Finding(
        message=f"grid {code(grid.name)} states {grid.ranks} ranks, "
        f"but its base view covers {grid.world}",
        primary=spec.label(grid, "ranks", f"{grid.ranks} ranks"),
        secondary=(spec.view_label(grid.base, f"{names} = {grid.world}"),),
        help=(help_line,),
    )


_EXPERT_TWINS: Final = {TP: ETP, DP: EDP, CP: None}


@rule(
    "MIMO303",
    "an axis that the view cannot have",
    scope=VIEW,
    cost=Cost.UNCLEAR,
    mirrors=(
        'pipeline_parallel/bridge_communicator.py, "tpcp_rank_lists = grid._gen_rank_enum"',
        'models/mimo/optimizer.py, "def _get_pg_collection_for_optimizer"',
    ),
    seen="The first bridge or the optimizer cannot find a group: it does not know the name of the "
    "axis.",
)
def unknown_axis(spec: Context, one: GridView) -> Findings:
    """The base view has the axes tp, cp, dp and pp; an expert view has etp, ep, edp and the shared
    pp.

    Megatron's bridges and optimizers ask grids for groups by these names. Views with other names
    may have any axes.

    Example:
        grid llm {
          dense = tp:2 * ep:4
        }
    """
    known = one.known_axes
    if known is None or (one.is_base and one.view.name == EXPERT_VIEW):
        return
    for axis in one.view.axes:
        if axis.name not in known:
            view = "the base view" if one.is_base else "the expert view"
            yield Finding(
                message=f"{view} has no axis {code(axis.name)}",
                primary=spec.label(axis, None, f"not one of {', '.join(known)}"),
                help=_axis_help(one, axis),
                edits=_axis_edits(axis, known),
            )


def _axis_edits(axis: Axis, known: tuple[str, ...]) -> tuple[Edit, ...]:
    """The edit to the intended name, where only one known name is close."""
    span = axis.span()
    if span is None or axis.name in (*BASE_AXES, *EXPERT_AXES):
        return ()
    name = Span(span.file, span.start, span.start + len(axis.name))
    return corrected(name, known) if name.text == axis.name else ()


def _axis_help(one: GridView, axis: Axis) -> tuple[str, ...]:
    if one.is_base and axis.name in EXPERT_AXES:
        return (f"{code(axis.name)} belongs to a second view: {code(_expert_line(one.grid))}",)
    if one.is_expert and axis.name in BASE_AXES:
        twin = _EXPERT_TWINS[axis.name]
        if twin is not None:
            return (f"experts use {code(twin)} instead",)
        return ("leave it out: experts are spread over all ranks of a pipeline stage",)
    near = did_you_mean(axis.name, one.known_axes or ())
    return near or ("leave it out: only views with other names may have any axes",)


def _expert_line(grid: Grid) -> str:
    """An expert view for the expert axes that stand in the base view."""
    sizes = {axis.name: axis.size or 1 for axis in grid.base.axes}
    etp, ep = sizes.get(ETP, 1), sizes.get(EP, 1)
    stage = prod(size for name, size in sizes.items() if name in (TP, CP, DP, *EXPERT_AXES))
    return f"expert = etp:{etp} * ep:{ep} * edp:{max(1, stage // (etp * ep))} * pp"


@rule(
    "MIMO304",
    "an axis twice in one view",
    scope=VIEW,
    cost=Cost.SILENT,
    mirrors=('hyper_comm_grid.py, "if len(set(dim_names)) != len(dim_names)"',),
    seen="In the base view, nothing: groups join the wrong ranks, and the run goes on. A later "
    "view stops with `has duplicate dim_names`.",
)
def repeated_axis(spec: Context, one: GridView) -> Findings:
    """A view names each of its axes once.

    megatron-core refuses a repeated axis in a second view. In the base view it accepts one, and
    then makes groups of the first one only. In text, lowering already reports this as MIMO205.
    """
    seen: dict[str, Axis] = {}
    for axis in one.view.axes:
        if axis.name in seen:
            yield Finding(
                message=f"view {code(one.view.name)} has the axis {code(axis.name)} twice",
                primary=spec.label(axis, None, "again here"),
                secondary=(spec.label(seen[axis.name], None, "first here"),),
                help=("an axis is one factor of the ranks: leave one of them out",),
            )
        seen.setdefault(axis.name, axis)


@rule(
    "MIMO305",
    "an axis of the base view without a size",
    scope=VIEW,
    cost=Cost.UNCLEAR,
)
def unsized_axis(spec: Context, one: GridView) -> Findings:
    """Every axis of the base view has a size. Only a second view leaves sizes out, to share axes.

    Example:
        grid llm {
          dense = tp:2 * dp
        }
    """
    if not one.is_base:
        return
    for axis in one.view.axes:
        if axis.size is None and axis.name in BASE_AXES:
            sizes = [other.size or 1 for other in one.view.axes]
            fits = one.grid.ranks // prod(sizes) if one.grid.ranks else 0
            yield Finding(
                message=f"axis {code(axis.name)} of the base view has no size",
                primary=spec.label(axis, None, "how many ranks?"),
                notes=(
                    "a second view can leave a size out to share the axis, the base view cannot",
                ),
                help=(
                    f"write {code(f'{axis.name}:{fits or 1}')}"
                    + ("" if fits else ", or leave the axis out: it then has size 1"),
                ),
            )


@rule(
    "MIMO310",
    "an expert view where the base view belongs",
    scope=VIEW,
    cost=Cost.UNCLEAR,
)
def expert_first(spec: Context, one: GridView) -> Findings:
    """The first view of a grid is its base view: its axes are tp, cp, dp and pp, and it is not
    called `expert`.

    Example:
        grid llm {
          expert = etp:1 * ep:4 * edp:2
        }
    """
    if not one.is_base or one.view.name != EXPERT_VIEW:
        return
    ranks = prod(axis.size or 1 for axis in one.view.axes)
    later = one.grid.views[1:]
    begin = f"begin with {code(f'dense = dp:{ranks}')}"
    move = f"move {code(later[0].name)} before it" if later else begin
    yield Finding(
        message=f"grid {code(one.grid.name)} begins with its expert view",
        primary=spec.label(one.view, "name", "the base view comes first"),
        help=(f"{move}: the first view says how weights and batches are split",),
    )


@rule(
    "MIMO311",
    "two views with one name in a grid",
    scope=GRID,
    cost=Cost.RAISES,
    mirrors=('hyper_comm_grid.py, "if name in self._views"',),
    seen="Every rank stops while its grids are built: `is already registered`.",
)
def repeated_view(spec: Context, grid: Grid) -> Findings:
    """The views of a grid have different names.

    In text, lowering already reports this as MIMO205.
    """
    seen: dict[str, View] = {}
    for view in grid.views:
        if view.name in seen:
            yield Finding(
                message=f"grid {code(grid.name)} has two views called {code(view.name)}",
                primary=spec.label(view, "name", "again here"),
                secondary=(spec.label(seen[view.name], "name", "first here"),),
                help=("give one of them another name, or leave it out",),
            )
        seen.setdefault(view.name, view)


@rule(
    "MIMO312",
    "a grid without a view",
    scope=GRID,
    cost=Cost.UNCLEAR,
)
def no_view(spec: Context, grid: Grid) -> Findings:
    """A grid is the product of the axes of its base view.

    In text, lowering already reports this as MIMO210.
    """
    if not grid.views:
        yield Finding(
            message=f"grid {code(grid.name)} has no view",
            primary=spec.label(grid, "name", "how many ranks?"),
            help=(f"give it a base view, such as {code('dense = tp:1 * dp:1')}",),
        )
