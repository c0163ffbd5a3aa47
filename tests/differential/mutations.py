"""One thing changed in a spec: a field, an axis, a name, a placement; sound or not, who knows."""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Final

import attrs

from mimodsl.ir import (
    Attention,
    Axis,
    Beside,
    Grid,
    Mamba,
    Module,
    Moe,
    Size,
    Spec,
    Together,
    View,
)
from mimodsl.ir.node import Node
from mimodsl.ir.placement import grid_names
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.ir.types import FieldType

type Change = Callable[[], Spec]

INTEGERS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 33)
NUMBERS: Final = (0.0, 1e-4, 0.5, 1.0, 2.5)
SIDES: Final = (8, 16, 20, 24, 32, 80)

# Which implementation runs is this machine's matter; a name or a grid is changed on purpose below.
KEPT: Final = {"kernels", "name", "grid", "path"}

BLOCKS: Final = {
    Attention: Attention(heads=4, head_dim=8),
    Mamba: Mamba(heads=4, head_dim=8, state=8, groups=2),
    Moe: Moe(experts=4, topk=2, ffn=24),
}


def mutated(rng: Random, spec: Spec) -> Spec:
    """The spec with one thing changed, or two now and then."""
    for _ in range(1 if rng.random() < 0.85 else 2):
        (family,) = rng.choices((_grid_changes, _kind_changes, _whole_changes), (3, 6, 1))
        changes = list(family(rng, spec))
        # A change may find nothing to change, or ask for what no field can hold.
        for change in rng.sample(changes, len(changes)):
            try:
                spec = change()
            except ValueError:
                continue
            break
    return spec


# Fields.


def _kind_changes(rng: Random, spec: Spec) -> Iterator[Change]:
    """Every field of one module's kind, of the blocks in it as often as of the kind itself."""
    *others, last = spec.modules
    module = rng.choice((*others, last, last))
    nodes = [("kind", module.kind)]
    for field in attrs.fields(type(module.kind)):
        block = getattr(module.kind, field.name)
        if isinstance(block, Node):
            nodes += [(field.name, block)] * (8 if isinstance(block, Moe) else 1)
    name, node = rng.choice(nodes)

    def put(new: Any) -> Spec:
        kind = new if name == "kind" else attrs.evolve(module.kind, **{name: new})
        return _with_module(spec, module, attrs.evolve(module, kind=kind))

    for field in schema(type(node)):
        if field.name not in KEPT:
            yield lambda field=field: put(_changed(rng, node, field))


def _whole_changes(rng: Random, spec: Spec) -> Iterator[Change]:
    """Fields of the schedule, of training and of flows; modules, names and the placement."""
    for part in ("schedule", "train"):
        node = getattr(spec, part)
        yield lambda part=part, node=node: attrs.evolve(spec, **{part: _any_field(rng, node)})
    train = spec.train
    yield lambda: _with_train(spec, optimizer=_any_field(rng, train.optimizer))
    yield lambda: _with_train(spec, ddp=_any_field(rng, train.ddp))
    yield lambda: _with_train(spec, lr_decay=_any_field(rng, train.lr_decay))
    yield lambda: _replaced(spec, rng)
    yield lambda: _moved(spec, rng)
    yield lambda: _renamed(spec, rng)
    if len(spec.modules) > 1:
        yield lambda: attrs.evolve(spec, modules=_without(rng, spec.modules))
    if spec.flows:
        yield lambda: attrs.evolve(spec, flows=_without(rng, spec.flows))
        yield lambda: _rerouted(spec, rng)
        yield lambda: _with_flow(spec, rng)
        yield lambda: _with_flow(spec, rng)
    module = rng.choice(spec.modules)
    thawed = attrs.evolve(module, frozen=not module.frozen)
    yield lambda: _with_module(spec, module, thawed)


def _any_field[N: Node](rng: Random, node: N) -> N:
    fields = [field for field in schema(type(node)) if field.name not in KEPT]
    return _changed(rng, node, rng.choice(fields))


def _changed[N: Node](rng: Random, node: N, field: FieldSchema) -> N:
    old = getattr(node, field.name)
    new = [value for value in _values(rng, field, old) if value != old]
    if not new:
        raise ValueError(f"{field.name} has no other value here")
    return attrs.evolve(node, **{field.name: rng.choice(new)})


def _values(rng: Random, field: FieldSchema, old: Any) -> list[Any]:
    """Other values of a field that its own constraint accepts."""
    found = list(_of_type(rng, field.type, old))
    accepts = field.constraint.accepts if field.constraint else lambda _: True
    return [value for value in found if value is None or accepts(value)]


def _of_type(rng: Random, type_: FieldType, old: Any) -> Iterator[Any]:
    if type_.optional:
        yield None
    for base in type_.bases:
        if base in BLOCKS:
            yield BLOCKS[base] if old is None else _any_field(rng, old)
        elif base in _OTHERS:
            yield from _OTHERS[base](rng, old)
        elif not issubclass(base, Node):
            yield from base


def _integers(_rng: Random, old: Any) -> Iterator[int]:
    yield from INTEGERS
    if isinstance(old, int):
        yield from (old + 1, old - 1, 2 * old, 3 * old, old // 2)


def _patterns(rng: Random, old: str) -> Iterator[str]:
    at = rng.randrange(len(old) + 1)
    symbol = rng.choice("M*-E||XD")
    yield old[:at] + symbol + old[at:]
    yield old[:at] + symbol + old[at + 1 :]
    yield old[:at] + old[at + 1 :]
    yield old.replace("|", "")


_OTHERS: Final[dict[type, Callable[[Random, Any], Iterable[Any]]]] = {
    int: _integers,
    float: lambda _rng, _old: NUMBERS,
    bool: lambda _rng, _old: (True, False),
    str: _patterns,
    Size: lambda rng, _old: [Size(height=rng.choice(SIDES), width=rng.choice(SIDES))],
}


# Grids.


def _grid_changes(rng: Random, spec: Spec) -> Iterator[Change]:
    """Axes: their sizes, order and number; views: whether they are there."""
    grid = rng.choice(spec.grids)
    base, *others = grid.views
    yield lambda: _with_views(spec, grid, *_scaled(rng, grid))
    yield lambda: _with_views(spec, grid, *_scaled(rng, grid))
    yield lambda: _with_views(spec, grid, *_refactored(rng, grid))
    yield lambda: _with_views(spec, grid, *_refactored(rng, grid))
    yield lambda: _with_views(spec, grid, *_piped(grid))
    yield lambda: _with_grid(spec, grid, attrs.evolve(grid, ranks=grid.world * rng.choice((1, 2))))
    for index, view in enumerate(grid.views):
        for new in (_resized, _reordered, _shortened, _lengthened):
            yield lambda index=index, view=view, new=new: _with_views(
                spec, grid, *grid.views[:index], new(rng, view), *grid.views[index + 1 :]
            )
    if others:
        yield lambda: _with_views(spec, grid, base, *others[:-1])
        yield lambda: _with_views(spec, grid, base, *others, others[-1])
        renamed = attrs.evolve(others[-1], name="other")
        yield lambda: _with_views(spec, grid, base, *others[:-1], renamed)
    else:
        yield lambda: _with_views(spec, grid, base, _plain_expert_view(grid))


def _scaled(rng: Random, grid: Grid) -> tuple[View, ...]:
    """An axis of the base view resized, and the last axes of other views with it: still a whole."""
    base, *others = grid.views
    axis = rng.choice(base.axes)
    size = rng.choice((1, 2, 3, 4, 5))
    views = [_resize(base, axis.name, size)]
    for view in others:
        own = [one for one in view.axes if one.size is not None]
        if own and axis.size and view.axis(axis.name) is None:
            last = next((one for one in own if one.size * size % axis.size == 0), own[-1])
            view = _resize(view, last.name, max(1, (last.size or 1) * size // axis.size))
        views.append(view)
    return tuple(views)


def _refactored(rng: Random, grid: Grid) -> tuple[View, ...]:
    """The ranks of one axis of a view given to another: the same whole."""
    index = rng.randrange(len(grid.views))
    view = grid.views[index]
    sized = [axis for axis in view.axes if axis.size is not None]
    if len(sized) > 1:
        giver, taker = rng.sample(sized, 2)
        size = giver.size or 1
        view = _resize(_resize(view, giver.name, 1), taker.name, (taker.size or 1) * size)
    return (*grid.views[:index], view, *grid.views[index + 1 :])


def _piped(grid: Grid) -> tuple[View, ...]:
    """Replicas made stages, in every view: the same whole again, with a pipeline."""
    dp, pp = grid.size("dp"), grid.size("pp")
    kept = [axis for axis in grid.base.axes if axis.name not in ("dp", "pp")]
    views = [attrs.evolve(grid.base, axes=(*kept, Axis(name="pp", size=dp * pp)))]
    for view in grid.views[1:]:
        own = [axis for axis in view.axes if axis.size is not None]
        giver = next((axis for axis in own if axis.size % dp == 0), None)
        if giver is None:
            raise ValueError("no axis of the view gives as many ranks")
        left = _resize(attrs.evolve(view, axes=tuple(own)), giver.name, giver.size // dp)
        views.append(attrs.evolve(view, axes=(*left.axes, Axis(name="pp"))))
    return tuple(views)


def _plain_expert_view(grid: Grid) -> View:
    ranks = grid.world // grid.size("pp")
    return View(name="expert", axes={"ep": ranks, "pp": None})


def _resize(view: View, name: str, size: int) -> View:
    axes = [Axis(name=name, size=size) if one.name == name else one for one in view.axes]
    return attrs.evolve(view, axes=tuple(axes))


def _resized(rng: Random, view: View) -> View:
    axis = rng.choice(view.axes)
    size = rng.choice((None, 1, 2, 3, 4, 6))
    return attrs.evolve(
        view, axes=tuple(Axis(name=axis.name, size=size) if o is axis else o for o in view.axes)
    )


def _reordered(rng: Random, view: View) -> View:
    return attrs.evolve(view, axes=tuple(rng.sample(view.axes, len(view.axes))))


def _shortened(rng: Random, view: View) -> View:
    left = list(view.axes)
    if len(left) == 1:
        raise ValueError("text cannot say a view without axes")
    del left[rng.randrange(len(left))]
    return attrs.evolve(view, axes=tuple(left))


def _lengthened(rng: Random, view: View) -> View:
    names = [n for n in ("tp", "cp", "dp", "pp", "etp", "ep", "edp", "x") if not view.axis(n)]
    more = Axis(name=rng.choice(names), size=rng.choice((None, 1, 2, 3)))
    at = rng.randrange(len(view.axes) + 1)
    return attrs.evolve(view, axes=(*view.axes[:at], more, *view.axes[at:]))


# Parts.


def _replaced(spec: Spec, rng: Random) -> Spec:
    """The grids placed in another way: `|` for `&`, another order, one of them apart."""
    names = list(grid_names(spec.place))
    rng.shuffle(names)
    if len(names) == 1:
        spare = Grid(name="spare", views={"dense": {"dp": rng.choice((1, 2))}})
        place = rng.choice((Beside, Together))(parts=(names[0], "spare"))
        return attrs.evolve(spec, grids=(*spec.grids, spare), place=place)
    inner = names[0]
    if len(names) > 2:
        inner = rng.choice((Beside, Together))(parts=tuple(names[:2]))
        names = names[1:]
    return attrs.evolve(spec, place=rng.choice((Beside, Together))(parts=(inner, *names[1:])))


def _moved(spec: Spec, rng: Random) -> Spec:
    """A module on another grid, which may leave its own empty."""
    module = rng.choice(spec.modules)
    return _with_module(spec, module, attrs.evolve(module, grid=rng.choice(spec.grids).name))


def _renamed(spec: Spec, rng: Random) -> Spec:
    """A module, and the flows through it, by a name that may be taken or none."""
    module = rng.choice(spec.modules)
    name = rng.choice(("language", "text", "a.b", "keys", "encoders", "Größe", "x", ""))
    flows = tuple(
        attrs.evolve(flow, path=tuple(name if one == module.name else one for one in flow.path))
        for flow in spec.flows
    )
    return attrs.evolve(_with_module(spec, module, attrs.evolve(module, name=name)), flows=flows)


def _rerouted(spec: Spec, rng: Random) -> Spec:
    flow = rng.choice(spec.flows)
    path = list(flow.path)
    if rng.random() < 0.7:
        del path[rng.randrange(len(path))]
    else:
        rng.shuffle(path)
    return _put(spec, "flows", flow, attrs.evolve(flow, path=tuple(path)))


def _with_flow(spec: Spec, rng: Random) -> Spec:
    flow = rng.choice(spec.flows)
    return _put(spec, "flows", flow, _any_field(rng, flow))


def _with_train(spec: Spec, **changes: Any) -> Spec:
    return attrs.evolve(spec, train=attrs.evolve(spec.train, **changes))


def _with_module(spec: Spec, old: Module, new: Module) -> Spec:
    return _put(spec, "modules", old, new)


def _with_views(spec: Spec, grid: Grid, *views: View) -> Spec:
    """The stated ranks, if any, follow the base view: they are another change."""
    new = attrs.evolve(grid, views=views, ranks=None)
    return _with_grid(spec, grid, attrs.evolve(new, ranks=grid.ranks and new.world))


def _with_grid(spec: Spec, old: Grid, new: Grid) -> Spec:
    return _put(spec, "grids", old, new)


def _put(spec: Spec, part: str, old: Node, new: Node) -> Spec:
    nodes = tuple(new if node is old else node for node in getattr(spec, part))
    return attrs.evolve(spec, **{part: nodes})


def _without[N](rng: Random, nodes: tuple[N, ...]) -> tuple[N, ...]:
    gone = rng.randrange(len(nodes))
    return nodes[:gone] + nodes[gone + 1 :]
