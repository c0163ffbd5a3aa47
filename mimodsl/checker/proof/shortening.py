"""A long pipeline made short: as few stages as do all that any number of them does."""

from typing import Final

from attrs import evolve

from mimodsl.ir import Grid, Role, Spec
from mimodsl.planner.families import family_of

_KEPT: Final = 8
"""Stages of a kind, or one more: what is taken out is even, and odd stages stay odd."""


def shortened(spec: Spec, stages: int) -> Spec:
    """The spec, or one with fewer stages and microbatches that is stuck where it is, and else not.

    Each stage calls on the one before and on the one after it by turns: forward with a microbatch
    and, from some call on, backward with one. Two kinds of stages differ in when. A late one, which
    has fewer behind it than there are microbatches, turns round one microbatch earlier than the one
    before it; the early ones do so when all microbatches have gone forward. So two neighbours make
    as many calls on each other, each what the other one waits for.

    Say the first late stage is `n`, there are `m` microbatches, and the k-th call between stages i
    and i + 1 has the number `i + 2k`, but `2n - 2 - i + 2k` where i < n and k >= m. Then each stage
    makes its calls in the order of their numbers, and of all calls that have not been made both
    ends of the least are there. That is so of any number of stages of either kind. What can go
    wrong is at the ends (bridges, the loss, the optimizer), where the two kinds meet, or between
    any two neighbours, and a few of each kind show all of it.

    What a stage's ranks do among themselves keeps no other stage waiting once they have done it.
    Other views than the grid's first and its experts' are left out: a step has no use for them.
    """
    late = min(stages, spec.schedule.microbatches)
    early = stages - late
    out = _surplus(0, early) | _surplus(early, stages)
    if not out:
        return spec
    pp = spec.grid_of(spec.language).size("pp")
    own = [stage for stage in range(pp) if stage + stages - pp not in out]
    microbatches = spec.schedule.microbatches - len(_surplus(early, stages))
    return evolve(
        spec,
        grids=tuple(
            _long(grid, len(own)) if grid.name == spec.language.grid else grid
            for grid in spec.grids
        ),
        modules=tuple(
            evolve(module, kind=family_of(module.kind).on_stages(module.kind, own, pp))
            if module.role is Role.LANGUAGE
            else module
            for module in spec.modules
        ),
        schedule=evolve(spec.schedule, microbatches=microbatches),
    )


def _surplus(first: int, end: int) -> set[int]:
    """The stages from `first` to `end` that are too many, from the middle."""
    many = max(0, end - first - _KEPT) // 2 * 2
    return set(range(first + _KEPT // 2, first + _KEPT // 2 + many))


def _long(grid: Grid, pp: int) -> Grid:
    base = evolve(
        grid.base,
        axes=tuple(evolve(axis, size=pp) if axis.name == "pp" else axis for axis in grid.base.axes),
    )
    return evolve(grid, views=(base, *filter(None, [grid.expert])), ranks=None)
