"""Rules about the placement: each grid once, on the same ranks as others or on its own."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, Scope, rule
from mimodsl.checker.scopes import COMPLETE, SPEC, span_size, spans_of
from mimodsl.ir import Beside, Place, Placed, Together
from mimodsl.ir.axes import DP
from mimodsl.ir.draft import Draft
from mimodsl.ir.placement import grid_names


def placed_grids(place: Place | None) -> Iterator[Placed]:
    """The grids of a placement, left to right."""
    if isinstance(place, Placed):
        yield place
    elif place is not None:
        for part in place.parts:
            yield from placed_grids(part)


def places_by_grid(place: Place | None) -> dict[str, list[Placed]]:
    """The places of each grid in a placement, left to right: one each, if it is sound."""
    places: dict[str, list[Placed]] = {}
    for placed in placed_grids(place):
        places.setdefault(placed.grid, []).append(placed)
    return places


def _together(place: Place | None) -> Iterator[Together]:
    """Every `a & b` of a placement."""
    if isinstance(place, Together):
        yield place
    if isinstance(place, Beside | Together):
        for part in place.parts:
            yield from _together(part)


MOST_RANKS: Final = 2**31 - 1
"""The most ranks of a world: torch numbers ranks with signed 32-bit integers."""

TOGETHER: Final = Scope[Together](
    "grids placed on the same ranks", lambda spec: _together(spec.draft.place)
)


@rule(
    "MIMO401",
    "a grid that is not placed",
    scope=COMPLETE,
    cost=Cost.UNCLEAR,
    mirrors=('models/mimo/config/role.py, "if not modules"',),
    seen="Ranks that are not placed are not started, or stop with `is not in any module grid`.",
)
def unplaced_grid(spec: Context, draft: Draft) -> Findings:
    """Every grid is placed once: rank offsets and the size of the world follow from the placement.

    Example:
        grid encoder {
          dense = dp:2
        }

        grid llm {
          dense = dp:2
        }

        place llm

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 64
          vocabulary = 512
          attention  = { heads = 4 }
        }

        schedule 1f1b {
          sequence = 64
        }
    """
    place = draft.place
    if place is None:
        return
    names = grid_names(place)
    for grid in draft.grids:
        if grid.name not in names:
            yield Finding(
                message=f"grid {code(grid.name)} is not placed",
                primary=spec.label(grid, "name", "where are its ranks?"),
                secondary=(spec.label(place, None, "the placement"),),
                help=(
                    f"{code(f'place {place} | {grid.name}')} gives it its own ranks",
                    "or leave the grid out",
                ),
            )


@rule(
    "MIMO402",
    "a grid placed twice",
    scope=SPEC,
    cost=Cost.UNCLEAR,
)
def placed_twice(spec: Context, draft: Draft) -> Findings:
    """A grid covers one range of ranks, so a placement names it once.

    Example:
        grid llm {
          dense = dp:2
        }

        grid encoder {
          dense = dp:2
        }

        place encoder | llm | encoder
    """
    for grid, (first, *again) in places_by_grid(draft.place).items():
        if again:
            times = "twice" if len(again) == 1 else f"{len(again) + 1} times"
            yield Finding(
                message=f"grid {code(grid)} is placed {times}",
                primary=spec.label(again[0], None, "again here"),
                secondary=(spec.label(first, None, "first here"),),
                help=("place it once: modules that share ranks can name the same grid",),
            )


@rule(
    "MIMO403",
    "grids of different sizes on the same ranks",
    scope=TOGETHER,
    cost=Cost.HANGS,
    mirrors=(
        'models/mimo/config/role.py, "def _all_grids_colocated"',
        'models/mimo/model/base.py, "if self.role.has_modality_modules"',
        'models/mimo/comm/colocated_communicator.py, "if self.src_grid.size != self"',
        'models/mimo/comm/colocated_communicator.py, "Grids must have same rank offset"',
    ),
    seen="Construction succeeds; then shared ranks run only the encoder, and the others wait until "
    "NCCL's timeout.",
)
def different_sizes(spec: Context, place: Together) -> Findings:
    """`a & b` puts grids on the same ranks, so both have the same number of ranks.

    megatron-core accepts grids that overlap in part, and then runs only the encoder on the shared
    ranks: the language model waits there forever.

    Example:
        grid encoder {
          dense = tp:1 * dp:4
        }

        grid llm {
          dense = tp:2 * dp:4
        }

        place encoder & llm
    """
    sizes = _sizes(spec, place)
    if None in sizes or len(set(sizes)) == 1:
        return
    counts = [size or 0 for size in sizes]
    smallest = min(range(len(counts)), key=counts.__getitem__)
    words = [f"{code(part)} has {size}" for part, size in zip(place.parts, counts, strict=True)]
    names = [placed.grid for placed in placed_grids(place)]
    grids = [grid for grid in map(spec.draft.grid, names) if grid is not None]
    yield Finding(
        message=f"{either(map(code, place.parts), 'and')} are placed on the same ranks, "
        f"but {either(words, 'and')}",
        primary=spec.label(place, None, "the same ranks"),
        secondary=tuple(
            spec.view_label(grid.base, f"{grid.name}: {grid.world} ranks") for grid in grids
        ),
        help=(_resize_help(spec, place.parts[smallest], max(counts)),),
    )


def _sizes(spec: Context, place: Together) -> list[int | None]:
    """How many ranks each part takes; `None` where the size of a grid is unknown."""
    names = {placed.grid for placed in placed_grids(place)}
    known = {name: span_size(spec.draft.grid(name)) for name in names}
    return [_size(known, part) for part in place.parts]


def _size(known: Mapping[str, int | None], place: Place) -> int | None:
    if isinstance(place, Placed):
        return known[place.grid]
    sizes = [_size(known, part) for part in place.parts]
    if None in sizes:
        return None
    counts = [size or 0 for size in sizes]
    return sum(counts) if isinstance(place, Beside) else max(counts)


def _resize_help(spec: Context, part: Place, target: int) -> str:
    """Grow the data-parallel axis of the smaller grid, where that makes the sizes equal."""
    grid = spec.draft.grid(part.grid) if isinstance(part, Placed) else None
    if grid is not None:
        others = grid.world // grid.size(DP)
        if target % others == 0:
            return (
                f"{code(f'dp:{target // others}')} in {code(grid.name)} gives both {target} ranks"
            )
    return "`|` instead of `&` gives each its own ranks"


@rule(
    "MIMO404",
    "grids that share some of their ranks",
    scope=SPEC,
    cost=Cost.HANGS,
    mirrors=(
        'models/mimo/config/role.py, "def _all_grids_colocated"',
        'models/mimo/model/base.py, "if self.role.has_modality_modules"',
    ),
    seen="The run hangs in its first step until NCCL's timeout: shared ranks never run the "
    "language model.",
)
def partial_overlap(spec: Context, draft: Draft) -> Findings:
    """Two grids have the same ranks, or no rank in common.

    A rank of both would hold one module that is colocated with a part of another. megatron-core
    does not notice, and its schedule gives such a rank the stage of the module that comes first.

    Example:
        grid vision {
          dense = dp:4
        }

        grid audio {
          dense = dp:4
        }

        grid llm {
          dense = dp:8
        }

        place (vision | audio) & llm
    """
    if any(_differ_in_size(spec, place) for place in _together(draft.place)):
        return
    places = places_by_grid(draft.place)
    spans = spans_of(draft)
    together, beside = (code(f"place {sign.join(spans)}") for sign in (" & ", " | "))
    for (a, a_ranks), (b, b_ranks) in combinations(spans.items(), 2):
        common = min(a_ranks.stop, b_ranks.stop) - max(a_ranks.start, b_ranks.start)
        if common > 0 and a_ranks != b_ranks:
            yield Finding(
                message=f"grids {code(a)} and {code(b)} share {common} ranks, but not all",
                primary=spec.label(places[b][0], None, _ranks(b_ranks)),
                secondary=(spec.label(places[a][0], None, _ranks(a_ranks)),),
                notes=("two grids have the same ranks, or none in common",),
                help=(f"write {together} with grids of equal size, or {beside}",),
            )


@rule(
    "MIMO408",
    "a world with more ranks than torch can number",
    scope=SPEC,
    cost=Cost.RAISES,
)
def uncountable_world(spec: Context, draft: Draft) -> Findings:
    """torch numbers the ranks of a group in 32 bits, so a world has at most 2,147,483,647 ranks.

    Such a size is usually a typing mistake. torch refuses to make the process group of the world.

    Example:
        grid llm {
          dense = tp:2 * dp:2000000000
        }
    """
    spans = spans_of(draft)
    if max((span.stop for span in spans.values()), default=0) <= MOST_RANKS:
        return
    largest = max((grid for grid in draft.grids if grid.name in spans), key=lambda grid: grid.world)
    axis, size = max(largest.sizes(largest.base), key=lambda item: item[1])
    fitting = max(1, MOST_RANKS // len(spans) * size // largest.world)
    yield Finding(
        message=f"grid {code(largest.name)} makes the world larger than {MOST_RANKS:,} ranks",
        primary=spec.axis_label(largest, axis, f"{largest.world:,} ranks in all"),
        help=(f"{code(f'{axis}:{fitting}')} is the largest that fits",),
    )


def _differ_in_size(spec: Context, place: Together) -> bool:
    return len(set(_sizes(spec, place))) > 1


def _ranks(span: range) -> str:
    return f"ranks {span.start} to {span.stop - 1}"
