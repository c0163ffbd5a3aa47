"""Shortens a long pipeline to a few stages that show every fault of the long one."""

from typing import Final

from attrs import evolve

from mimodsl.ir import Grid, Role, Spec
from mimodsl.ir.axes import PP
from mimodsl.planner.families import family_of

_KEPT: Final = 8
"""Stages of each kind that are kept, or one more: removing an even number keeps odd stages odd."""


def shorten(spec: Spec, stages: int) -> Spec:
    """A spec with fewer stages and microbatches that hangs exactly if the given spec hangs.

    Each stage alternates calls with the stage before it and the stage after it: forward calls with
    a microbatch and, from some call on, also backward calls. There are two kinds of stages. A late
    stage has fewer stages after it than there are microbatches. It starts its backward calls one
    microbatch earlier than the stage before it. An early stage starts them when all microbatches
    have gone forward. So two neighbours make the same number of calls with each other, in the same
    order.

    Let `n` be the first late stage and `m` the number of microbatches. The k-th call between stages
    i and i + 1 gets the number `i + 2k`, or `2n - 2 - i + 2k` if i < n and k >= m. Then each stage
    makes its calls in the order of their numbers, and both ends of the call with the lowest number
    that is not yet made are ready for it. This holds for any number of stages of each kind. A fault
    can only be at the ends (bridges, the loss, the optimizer), where the two kinds meet, or between
    two neighbours. A few stages of each kind show all of these.

    When the ranks of a stage have finished their own collectives, no other stage waits for these.
    Only the base view and the expert view of the grid are kept: a step uses no other view.
    """
    late = min(stages, spec.schedule.microbatches)
    early = stages - late
    removed = _surplus(0, early) | _surplus(early, stages)
    if not removed:
        return spec
    pp = spec.grid_of(spec.language).size(PP)
    kept = [stage for stage in range(pp) if stage + stages - pp not in removed]
    microbatches = spec.schedule.microbatches - len(_surplus(early, stages))
    return evolve(
        spec,
        grids=tuple(
            _with_stages(grid, len(kept)) if grid.name == spec.language.grid else grid
            for grid in spec.grids
        ),
        modules=tuple(
            evolve(module, kind=family_of(module.kind).on_stages(module.kind, kept, pp))
            if module.role is Role.LANGUAGE
            else module
            for module in spec.modules
        ),
        schedule=evolve(spec.schedule, microbatches=microbatches),
    )


def _surplus(first: int, end: int) -> set[int]:
    """The stages to remove between `first` and `end`, from the middle."""
    number = max(0, end - first - _KEPT) // 2 * 2
    return set(range(first + _KEPT // 2, first + _KEPT // 2 + number))


def _with_stages(grid: Grid, pp: int) -> Grid:
    """The grid with another number of stages, and only its base view and its expert view."""
    base = evolve(
        grid.base,
        axes=tuple(evolve(axis, size=pp) if axis.name == PP else axis for axis in grid.base.axes),
    )
    return evolve(grid, views=(base, *filter(None, [grid.expert])), ranks=None)
