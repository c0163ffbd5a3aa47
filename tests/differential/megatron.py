"""What megatron-core makes of a spec that no checker has seen: the first thing that raises."""

import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from attrs import frozen
from megatron.core.hyper_comm_grid import HyperCommGrid

from mimodsl.ir import Axis, Grid, Spec
from mimodsl.planner.plan import plan
from mimodsl.runtime import meta
from tests.differential.forward import run_forward

OURS: Final = Path(meta.__file__).parents[1]
THEIR_AXES: Final = {"etp": "expt_tp", "edp": "expt_dp"}


@frozen(kw_only=True)
class Refusal:
    """An exception and the line that raised it, which is megatron-core's, torch's or `ours`.

    `missing` says that nothing is wrong with the spec: a package is not installed here.
    """

    error: str
    where: str
    ours: bool
    missing: bool
    trace: str

    def __str__(self) -> str:
        return f"{self.error}  ({self.where})"


def refusal(spec: Spec, *, forward: bool = False) -> Refusal | None:
    """The refusal of the first rank of a sound spec that is refused; `None` where all are built.

    One rank of every role is built and, with `forward`, runs its first forward pass.
    """
    ranks = plan(spec).representatives()
    return _first(_builder(spec, rank, forward=forward) for rank in ranks)


def refusal_unchecked(spec: Spec) -> Refusal | None:
    """As `refusal`, of a spec that is not sound, whose roles cannot be known.

    The first ranks of all stages are built; before that, its views are registered as they are
    written, not as a plan completes them.
    """
    return _first([lambda: _register(spec), *(_builder(spec, rank) for rank in stage_ranks(spec))])


def stage_ranks(spec: Spec) -> list[int]:
    """The first rank of every pipeline stage of every grid, as far as base views tell."""
    found: dict[int, None] = {}
    for grid in spec.grids:
        start = spec.rank_spans[grid.name].start
        stride, stages = _pipeline(grid)
        found |= {start + stage * stride: None for stage in range(stages)}
    return list(found)


def _pipeline(grid: Grid) -> tuple[int, int]:
    """How far apart the stages of a grid begin, and how many there are."""
    stride = 1
    for axis in grid.base.axes:
        if axis.name == "pp":
            return stride, axis.size or 1
        stride *= axis.size or 1
    return 0, 1


def _builder(spec: Spec, rank: int, *, forward: bool = False) -> Callable[[], None]:
    def build() -> None:
        with meta.built(spec, rank) as assembly:
            if forward:
                run_forward(spec, assembly)

    return build


def _register(spec: Spec) -> None:
    """Every view of every grid, given to HyperCommGrid in the spec's own words."""
    with meta.fake_world(0, spec.world):
        for grid in spec.grids:
            base, *others = grid.views
            comm = HyperCommGrid(
                [axis.size or 1 for axis in base.axes],
                _names(base.axes),
                rank_offset=spec.rank_spans[grid.name].start,
            )
            for view in others:
                comm.register_view(
                    view.name,
                    [size for _, size in grid.sizes(view)],
                    _names(view.axes),
                    shared_dims=_names(axis for axis in view.axes if axis.size is None),
                )


def _names(axes: Iterable[Axis]) -> list[str]:
    return [THEIR_AXES.get(axis.name, axis.name) for axis in axes]


def _first(attempts: Iterable[Callable[[], None]]) -> Refusal | None:
    for attempt in attempts:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a refusal
            return _refusal(error)
    return None


def _refusal(error: Exception) -> Refusal:
    last = traceback.extract_tb(error.__traceback__)[-1]
    path = Path(last.filename)
    ours = path.is_relative_to(OURS)
    short = path.relative_to(OURS.parent) if ours else "/".join(path.parts[-4:])
    return Refusal(
        error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        where=f"{short}:{last.lineno}",
        ours=ours,
        missing=isinstance(error, ImportError),
        trace="".join(traceback.format_exception(error)),
    )
