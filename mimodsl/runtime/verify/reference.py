"""The same model trained so that its layout cannot matter, in the spec's layout and on one rank."""

from typing import Final

import attrs

from mimodsl.ir.axes import DP
from mimodsl.ir.grid import Grid
from mimodsl.ir.lr_decay import ConstantLr
from mimodsl.ir.module import Module
from mimodsl.ir.placement import Placed, Together
from mimodsl.ir.schedule import ScheduleKind
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels, Precision
from mimodsl.planner.families import family_of

LEAST_EPS: Final = 1e-3
"""Adam divides a gradient by its size plus eps. With a small eps, rounding in a gradient that ought
to vanish, as that of a bias on keys, moves a weight as far as a real gradient does."""


def comparable(spec: Spec) -> Spec:
    """The spec in fp32 on local kernels, without what a rank takes from its own tokens or draws.

    Auxiliary losses and expert capacities are over a rank's own tokens, dropout draws are a rank's
    own: with them two layouts train slightly different models by design.
    """
    kernels = spec.train.kernels
    local = Kernels.LOCAL if kernels is Kernels.TRANSFORMER_ENGINE else kernels
    adamw = attrs.evolve(spec.train.optimizer, eps=max(spec.train.optimizer.eps, LEAST_EPS))
    train = attrs.evolve(
        spec.train,
        precision=Precision.FP32,
        kernels=local,
        optimizer=adamw,
        lr_decay=ConstantLr(),  # a warm-up may leave the weights as they are
    )
    return attrs.evolve(spec, train=train, modules=tuple(map(_comparable, spec.modules)))


def alone(spec: Spec) -> Spec:
    """The model on a single rank, with the same samples in a microbatch and in a step."""
    schedule = spec.schedule
    return attrs.evolve(
        spec,
        grids=tuple(map(_one_rank, spec.grids)),
        place=_together(spec),
        modules=tuple(map(_unsplit, spec.modules)),
        schedule=attrs.evolve(
            schedule,
            kind=ScheduleKind.NO_PIPELINING,
            microbatches=schedule.microbatches * spec.grid_of(spec.language).size(DP),
        ),
    )


def _comparable(module: Module) -> Module:
    return attrs.evolve(module, kind=family_of(module.kind).comparable(module.kind))


def _one_rank(grid: Grid) -> Grid:
    views = (
        attrs.evolve(
            view,
            axes=tuple(attrs.evolve(axis, size=axis.size and 1) for axis in view.axes),
        )
        for view in grid.views
    )
    return attrs.evolve(grid, views=tuple(views), ranks=grid.ranks and 1)


def _together(spec: Spec) -> Placed | Together:
    names = [grid.name for grid in spec.grids]
    return Together(parts=tuple(names)) if len(names) > 1 else Placed(grid=names[0])


def _unsplit(module: Module) -> Module:
    return attrs.evolve(module, kind=family_of(module.kind).on_one_rank(module.kind))
