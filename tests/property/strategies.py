"""Hypothesis strategies for IR: well-typed specs of every shape, sound or not.

What one field may hold is honoured (types, constraints, names that are declared); how fields and
declarations fit together is left to chance, which is what the checker is for.
"""

from typing import Any

from hypothesis import strategies as st

from mimodsl.ir import KINDS, Size, Spec
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES, Axis, Grid, View
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.placement import Beside, Place, Placed, Together
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.ir.train import Train
from mimodsl.syntax.scan import KEYWORDS

RESERVED = {"true", "false", "none", "_"}

names = st.one_of(
    st.sampled_from([*KEYWORDS, "language", "vision", "llm", "encoder", "x", "X_1"]),
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}", fullmatch=True),
).filter(lambda name: name not in RESERVED)

sizes = st.sampled_from([1, 2, 3, 4, 6, 8, 16, 64])

_VALUES: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.one_of(st.integers(0, 4), st.sampled_from([8, 64, 128, 2688, 2**40])),
    float: st.floats(0, 1e9, allow_nan=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    Size: st.builds(Size, height=st.integers(1, 4096), width=st.integers(1, 4096)),
}


def values(field: FieldSchema) -> st.SearchStrategy[Any]:
    """What may stand in one field."""
    bases = [_value_of(base) for base in field.type.bases]
    one = st.one_of(bases)
    if field.constraint is not None:
        one = one.filter(field.constraint.accepts)
    if field.type.many:
        one = st.lists(one, max_size=3).map(tuple)
    return st.one_of(st.none(), one) if field.type.optional else one


def _value_of(base: type) -> st.SearchStrategy[Any]:
    if issubclass(base, Node):
        return nodes(base)
    return _VALUES[base] if base in _VALUES else st.sampled_from(list(base))


@st.composite
def nodes[N: Node](draw: st.DrawFn, cls: type[N], **given: Any) -> N:
    """A node of an IR class: what is given, every other required field, and some of the rest."""
    chosen = {
        field.name: draw(values(field))
        for field in schema(cls)
        if field.name not in given and (field.required or draw(st.integers(0, 3)) == 0)
    }
    return cls(**chosen, **given)


@st.composite
def views(draw: st.DrawFn, name: str, axes: tuple[str, ...]) -> View:
    chosen = draw(st.lists(st.one_of(st.sampled_from(axes), names), min_size=1, unique=True))
    sized = st.one_of(sizes, sizes, st.none())
    return View(name=name, axes=tuple(Axis(name=axis, size=draw(sized)) for axis in chosen[:5]))


@st.composite
def grids(draw: st.DrawFn, name: str) -> Grid:
    view_names = st.one_of(st.sampled_from(["dense", "expert"]), names)
    free = view_names.filter(lambda one: one != "ranks")
    called = draw(st.lists(free, min_size=1, max_size=3, unique=True))
    made = [
        draw(views(view, BASE_AXES if index == 0 else (*EXPERT_AXES, *BASE_AXES)))
        for index, view in enumerate(called)
    ]
    return Grid(name=name, views=tuple(made), ranks=draw(st.one_of(st.none(), sizes)))


def places(grid_names: list[str]) -> st.SearchStrategy[Place]:
    """Placements of declared grids, each as often as chance has it."""
    placed = st.sampled_from(grid_names).map(lambda name: Placed(grid=name))
    return st.recursive(
        placed,
        lambda parts: st.builds(
            lambda kind, found: kind(parts=tuple(found)),
            st.sampled_from([Beside, Together]),
            st.lists(parts, min_size=2, max_size=3),
        ),
        max_leaves=5,
    )


@st.composite
def modules(draw: st.DrawFn, name: str, grid_names: list[str]) -> Module:
    kind = draw(st.sampled_from(list(KINDS.values())))
    return Module(
        name=name,
        grid=draw(st.sampled_from(grid_names)),
        frozen=draw(st.booleans()),
        kind=draw(nodes(kind)),
    )


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any spec that text can say, whatever rules will say of it."""
    grid_names = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    module_names = draw(st.lists(names, max_size=3, unique=True))
    flows = (
        st.lists(st.sampled_from(module_names), min_size=2, max_size=4).flatmap(
            lambda path: nodes(Flow, path=tuple(path))
        )
        if module_names
        else st.nothing()
    )
    return Spec(
        grids=tuple(draw(grids(name)) for name in grid_names),
        place=draw(places(grid_names)),
        modules=tuple(draw(modules(name, grid_names)) for name in module_names),
        flows=tuple(draw(st.lists(flows, max_size=2))) if module_names else (),
        schedule=draw(nodes(Schedule)),
        train=draw(nodes(Train)),
    )
