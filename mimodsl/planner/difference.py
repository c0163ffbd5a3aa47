"""The differences between two specs in meaning, by declaration and field."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from attrs import evolve, frozen

from mimodsl.ir.facts import Aspect
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Grid, View
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.schema import schema
from mimodsl.ir.spec import Spec


@frozen(kw_only=True)
class Difference:
    """A field whose value differs between two specs; `None` where a spec does not have it.

    `where` is the declaration (`module language`). `field` is empty if one spec alone declares it,
    or if all of it differs.
    """

    aspect: Aspect
    where: str
    field: str
    before: str | None
    after: str | None


def differences(a: Spec, b: Spec) -> tuple[Difference, ...]:
    """Every difference from `a` to `b`: layout, then model, then training, each in order of `b`."""
    found = [
        *_pairs("grid", a.grids, b.grids, Aspect.LAYOUT),
        *_place(a, b),
        *_pairs("module", a.modules, b.modules, Aspect.MODEL),
        *_pairs("flow", a.flows, b.flows, Aspect.MODEL),
        *_batch(a, b),
        *_fields("schedule", a.schedule, b.schedule),
        *_fields("train", a.train, b.train),
    ]
    order = list(Aspect)
    return tuple(sorted(found, key=lambda one: order.index(one.aspect)))


def _place(a: Spec, b: Spec) -> Iterator[Difference]:
    """Placements compare by the rank spans that they come to."""
    if {grid.name for grid in a.grids} != {grid.name for grid in b.grids}:
        before, after = str(a.place), str(b.place)
        if before != after:
            yield _difference(Aspect.LAYOUT, "place", "", before, after)
        return
    for name, span in b.rank_spans.items():
        if (old := a.rank_spans[name]) != span:
            yield _difference(Aspect.LAYOUT, f"grid {name}", "ranks", _ranks(old), _ranks(span))


def _ranks(span: range) -> str:
    return f"{span.start}-{span.stop - 1}"


def _batch(a: Spec, b: Spec) -> Iterator[Difference]:
    if a.batch != b.batch:
        yield _difference(Aspect.TRAINING, "schedule", "samples a step", str(a.batch), str(b.batch))


def _pairs[D: (Grid, Module, Flow)](
    word: str, a: Iterable[D], b: Iterable[D], aspect: Aspect
) -> Iterator[Difference]:
    """The differences of declarations that bear the same name, and those that have no pair."""
    before = {_name(one): one for one in a}
    after = {_name(one): one for one in b}
    for name in [*after, *(name for name in before if name not in after)]:
        where = f"{word} {name}"
        if name not in before:
            yield Difference(aspect=aspect, where=where, field="", before=None, after="declared")
        elif name not in after:
            yield Difference(aspect=aspect, where=where, field="", before="declared", after=None)
        else:
            yield from _declared(where, before[name], after[name])


def _name(one: Grid | Module | Flow) -> str:
    return one.encoder if isinstance(one, Flow) else one.name


def _declared[D: (Grid, Module, Flow)](where: str, a: D, b: D) -> Iterator[Difference]:
    if isinstance(a, Grid) and isinstance(b, Grid):
        yield from _views(where, a, b)
    elif isinstance(a, Module) and isinstance(b, Module):
        yield from _fields(where, a, b, but=("name", "kind"))
        yield from _kinds(where, a, b)
    else:
        yield from _fields(where, a, b)


def _views(where: str, a: Grid, b: Grid) -> Iterator[Difference]:
    """Views compare by their axes above 1 and the order of these, which is what groups follow.

    Where both are written alike, an axis that they share with the base view differs, and is told
    there.
    """
    before = {_view_name(a, view): (view, _factors(a, view)) for view in a.views}
    after = {_view_name(b, view): (view, _factors(b, view)) for view in b.views}
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if (old and old[1]) != (new and new[1]):
            before_text, after_text = (str(one[0]) if one else None for one in (old, new))
            if before_text != after_text:
                yield _difference(Aspect.LAYOUT, where, name, before_text, after_text)


def _view_name(grid: Grid, view: View) -> str:
    return "dense" if view is grid.base else view.name


def _factors(grid: Grid, view: View) -> tuple[tuple[str, int], ...]:
    return tuple(factor for factor in grid.sizes(view) if factor[1] > 1)


def _kinds(where: str, a: Module, b: Module) -> Iterator[Difference]:
    if type(a.kind) is not type(b.kind):
        yield _difference(Aspect.MODEL, where, "", a.kind.keyword, b.kind.keyword)
        return
    for difference in _fields(where, a.kind, b.kind):
        if difference.field == "pattern" and _same_layers(a, b):
            yield evolve(difference, aspect=Aspect.LAYOUT)
        else:
            yield difference


def _same_layers(a: Module, b: Module) -> bool:
    """Whether the patterns of two hybrid models differ in their stages alone."""
    return cast(Hybrid, a.kind).layers == cast(Hybrid, b.kind).layers


def _fields(where: str, a: Node, b: Node, but: tuple[str, ...] = ()) -> Iterator[Difference]:
    """The fields in which two nodes of one class differ, those of blocks by their path."""
    for field in (field for field in schema(type(b)) if field.name not in but):
        before, after = getattr(a, field.name), getattr(b, field.name)
        if before == after:
            continue
        if isinstance(before, Node) and type(before) is type(after):
            for inner in _fields(where, before, after):
                yield evolve(inner, field=f"{field.name}.{inner.field}")
        else:
            aspect = field.changes.aspect
            yield _difference(aspect, where, field.name, _shown(before), _shown(after))


def _shown(value: object) -> str:
    """A value in few words: of a block its tag."""
    if isinstance(value, Node):
        return f"{getattr(cast(Any, value), 'tag', 'block')} {{ … }}"
    if isinstance(value, tuple):
        return " -> ".join(map(str, cast("tuple[object, ...]", value)))
    return plain(value)


def plain(value: object) -> str:
    """A single value as a spec would have it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _difference(
    aspect: Aspect, where: str, field: str, before: str | None, after: str | None
) -> Difference:
    return Difference(aspect=aspect, where=where, field=field, before=before, after=after)
