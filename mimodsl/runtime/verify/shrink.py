"""A spec at laptop size: the same layout, layer kinds and ratios, on narrow widths."""

from collections.abc import Iterator
from itertools import count, islice, product
from math import gcd, lcm
from typing import Any, Final, cast

import attrs
from attrs import frozen

from mimodsl.ir.axes import CP, DP, EDP, PP, TP
from mimodsl.ir.grid import EXPERT_VIEW, Grid, View
from mimodsl.ir.kinds import Role
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.spec import Spec
from mimodsl.planner.families import Room, family_of

MOST_RANKS: Final = 32
"""How many ranks of a small model a laptop takes."""

_LONG: Final = 256
_MANY: Final = 32


class NotComparable(ValueError):
    """A spec that can't be run on a laptop, for a reason that the message names."""


class TooManyRanks(NotComparable):
    """A layout that needs more ranks than a laptop takes, however few its replicas."""


@frozen(kw_only=True)
class Change:
    """One field of a spec that differs between two: `language.moe.experts`, `128`, `8`."""

    field: str
    old: str
    new: str


def shrink(spec: Spec, most: int = MOST_RANKS) -> Spec:
    """The spec at laptop size; what is small already stays.

    Replicas become fewer where the world has more than `most` ranks. Raises `TooManyRanks` where
    that is not enough.
    """
    return _shorter(_narrower(fewer_replicas(spec, most)))


def fewer_replicas(spec: Spec, most: int = MOST_RANKS) -> Spec:
    """The same layout with smaller dp and edp, so that the world has at most `most` ranks.

    Of what fits, the one that keeps most: whether bridges fan in or out, then which grids have
    replicas at all, then ranks. Raises `TooManyRanks` where nothing fits.
    """
    if spec.world <= most:
        return spec
    candidates = [_on_grids(spec, grids) for grids in _with_fewer_replicas(spec)]
    fitting = [one for one in candidates if one.world <= most and _bridges_divide(one)]
    if not fitting:
        least = min(one.world for one in candidates)
        raise TooManyRanks(
            f"the layout has {spec.world} ranks, and {least} with the fewest replicas "
            f"that it can be factored with; a verification takes up to {most}"
        )
    return max(fitting, key=lambda one: _kept(spec, one))


def changes(old: Spec, new: Spec) -> tuple[Change, ...]:
    """Every field that differs between two specs of the same modules, in order of the spec."""
    return tuple(_grid_changes(old, new)) + tuple(
        change
        for name, before, after in _parts(old, new)
        for change in _node_changes(name, before, after)
    )


def _narrower(spec: Spec) -> Spec:
    modules = {
        module.name: module if module.role is Role.LANGUAGE else _small(spec, module)
        for module in spec.modules
    }
    narrow = attrs.evolve(spec, modules=tuple(modules.values()))
    emitted = {narrow.encoder(flow).output_width for flow in spec.flows if not flow.projector}
    language = _small(spec, spec.language, emitted=next(iter(emitted), None))
    modules[spec.language.name] = language
    narrow = attrs.evolve(narrow, modules=tuple(modules.values()))
    return attrs.evolve(narrow, flows=_flows(spec, narrow.language_kind))


def _small(spec: Spec, module: Module, *, emitted: int | None = None) -> Module:
    flow = spec.flow_through(module.name)
    projector = spec.module(flow.projector).kind if flow and flow.projector else None
    room = Room(
        grid=spec.grid_of(module),
        keeps_tokens=projector is not None and not family_of(projector).takes_any_tokens,
        keeps_width=projector is None and not family_of(spec.language.kind).takes_any_width,
        emitted=emitted,
    )
    return attrs.evolve(module, kind=family_of(module.kind).small(module.kind, room))


def _flows(spec: Spec, language: LanguageModel) -> tuple[Any, ...]:
    """Flows with few images, whose placeholders are the last ids of a smaller vocabulary."""
    old = spec.language_kind
    flows = [
        attrs.evolve(flow, images=min(flow.images, 2)) if old != language else flow
        for flow in spec.flows
    ]
    if all(flow.token < language.vocabulary for flow in flows):
        return tuple(flows)
    return tuple(
        attrs.evolve(flow, token=language.vocabulary - 1 - place)
        for place, flow in enumerate(flows)
    )


def _shorter(spec: Spec) -> Spec:
    """Short samples, few of them, with room for text and in parts that divide over tp and cp."""
    schedule, grid = spec.schedule, spec.grid_of(spec.language)
    dp = grid.size(DP)
    if schedule.sequence > _LONG:
        needed = sum(spec.sample_tokens(flow) for flow in spec.flows) + 16
        unit = lcm(grid.size(TP) * 2 * grid.size(CP), 16)
        sequence = min(schedule.sequence, unit * -(-max(needed, 32) // unit))
        schedule = attrs.evolve(schedule, sequence=sequence)
    if schedule.micro_batch * schedule.microbatches * dp > _MANY:
        encoders = [spec.grid_of(spec.module(flow.encoder)).size(DP) for flow in spec.flows]
        whole = lcm(*encoders)
        from_two = count(min(2, schedule.micro_batch))
        schedule = attrs.evolve(
            schedule,
            micro_batch=next(batch for batch in from_two if batch * dp % whole == 0),
            microbatches=min(schedule.microbatches, grid.size(PP) + 2),
        )
    return attrs.evolve(spec, schedule=schedule)


def _with_fewer_replicas(spec: Spec) -> Iterator[tuple[Grid, ...]]:
    """The grids divided by every factor that their replicas have; colocated ones by the same."""
    spans = spec.rank_spans
    together = {spans[grid.name]: 0 for grid in spec.grids}
    for grid in spec.grids:
        span = spans[grid.name]
        together[span] = gcd(together[span], grid.size(DP))
        if grid.expert is not None:
            together[span] = gcd(together[span], grid.size(EDP))
    for factors in product(*map(_divisors, together.values())):
        by_span = dict(zip(together, factors, strict=True))
        yield tuple(_divided(grid, by_span[spans[grid.name]]) for grid in spec.grids)


def _divisors(number: int) -> list[int]:
    return [factor for factor in range(1, number + 1) if number % factor == 0]


def _divided(grid: Grid, factor: int) -> Grid:
    def smaller(view: View, replicas: str) -> View:
        axes = (
            attrs.evolve(axis, size=axis.size // factor)
            if axis.name == replicas and axis.size
            else axis
            for axis in view.axes
        )
        return attrs.evolve(view, axes=tuple(axes))

    views = (smaller(view, EDP if view.name == EXPERT_VIEW else DP) for view in grid.views)
    return attrs.evolve(grid, views=tuple(views), ranks=grid.ranks and grid.ranks // factor)


def _on_grids(spec: Spec, grids: tuple[Grid, ...]) -> Spec:
    return attrs.evolve(spec, grids=grids)


def _replicas(spec: Spec) -> list[tuple[int, int]]:
    """The dp sizes at both ends of every bridge."""
    language = spec.grid_of(spec.language).size(DP)
    return [(spec.grid_of(spec.module(flow.encoder)).size(DP), language) for flow in spec.flows]


def _bridges_divide(spec: Spec) -> bool:
    return all(max(ends) % min(ends) == 0 for ends in _replicas(spec))


def _kept(old: Spec, new: Spec) -> tuple[int, int, int]:
    def direction(ends: tuple[int, int]) -> int:
        return (ends[0] > ends[1]) - (ends[0] < ends[1])

    pairs = zip(_replicas(old), _replicas(new), strict=True)
    directions = sum(direction(before) == direction(after) for before, after in pairs)
    return directions, sum(grid.size(DP) > 1 for grid in new.grids), new.world


def _grid_changes(old: Spec, new: Spec) -> Iterator[Change]:
    for before, after in zip(old.grids, new.grids, strict=True):
        for view in before.views:
            for axis, size in before.sizes(view):
                now = after.size(axis)
                if now != size and view.axis(axis) and cast(Any, view.axis(axis)).size:
                    yield Change(field=f"{before.name}.{axis}", old=str(size), new=str(now))


def _parts(old: Spec, new: Spec) -> Iterator[tuple[str, Node, Node]]:
    for before, after in zip(old.modules, new.modules, strict=True):
        yield before.name, before.kind, after.kind
    for flow, after in zip(old.flows, new.flows, strict=True):
        yield f"flow {flow.encoder}", flow, after
    yield "schedule", old.schedule, new.schedule
    yield "train", old.train, new.train


def _node_changes(path: str, old: Node, new: Node) -> Iterator[Change]:
    for field in islice(attrs.fields(type(old)), 1, None):  # all but where it was written
        before, after = getattr(old, field.name), getattr(new, field.name)
        name = f"{path}.{field.name}"
        if isinstance(before, Node) and type(before) is type(after):
            yield from _node_changes(name, before, after)
        elif before != after:
            yield Change(field=name, old=_text(before), new=_text(after))


def _text(value: object) -> str:
    if isinstance(value, Node):
        return str(getattr(value, "tag", type(value).__name__))
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
