"""What must hold of checking any spec at all: it never raises, and says the same of text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimodsl.checker.runner import CRASH, check
from mimodsl.diagnostics import Diagnostic, in_order
from mimodsl.diagnostics.render import full
from mimodsl.ir import Node, Spec
from mimodsl.ir.draft import Draft
from mimodsl.ir.schema import schema
from mimodsl.lower import load, parse
from mimodsl.lower.printer import print_spec
from mimodsl.source import Span
from tests.property.strategies import specs, values

examples = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


SOUND = sorted((Path(__file__).parents[1] / "golden" / "ok").glob("*.mimo"))
REFERENCES = {"name", "grid", "path", "views"}


@st.composite
def nearly_sound(draw: st.DrawFn) -> Spec:
    """A sound spec with some fields set to anything that they may hold alone."""
    spec = _without_origins(load(draw(st.sampled_from(SOUND))).spec)
    for _ in range(draw(st.integers(1, 4))):
        choices = list(_fields_of(spec))
        node, field = draw(st.sampled_from(choices))
        value = draw(values(field))
        spec = _with(spec, node, attrs.evolve(node, **{field.name: value}))
    return spec


def _children(node: Node) -> Iterator[tuple[str, Any]]:
    for field in attrs.fields(type(node)):
        if field.name != "origin":
            yield field.name, getattr(node, field.name)


def _fields_of(value: Any) -> Iterator[tuple[Node, Any]]:
    if isinstance(value, tuple):
        for item in value:
            yield from _fields_of(item)
    elif isinstance(value, Node):
        known = schema(type(value))
        yield from ((value, field) for field in known if _may_change(field))
        for _, child in _children(value):
            yield from _fields_of(child)


def _may_change(field: Any) -> bool:
    return field.name not in REFERENCES and field.name not in ("axes", "kind")


def _with(value: Any, old: Node, new: Node) -> Any:
    """A tree with one node of it replaced."""
    if value is old:
        return new
    if isinstance(value, tuple):
        return tuple(_with(item, old, new) for item in value)
    if isinstance(value, Node):
        changed = {name: _with(child, old, new) for name, child in _children(value)}
        return attrs.evolve(value, **changed)
    return value


def _without_origins(value: Any) -> Any:
    """A tree as Python would make it, small enough to be shown."""
    if isinstance(value, tuple):
        return tuple(map(_without_origins, value))
    if isinstance(value, Node):
        bare = {name: _without_origins(child) for name, child in _children(value)}
        return attrs.evolve(value, origin=None, **bare)
    return value


def codes(diagnostics: tuple[Diagnostic, ...]) -> list[str]:
    return sorted(one.code for one in diagnostics)


@examples
@given(st.one_of(specs(), nearly_sound()))
def test_no_rule_fails_on_any_spec(spec: Spec) -> None:
    found = check(spec)
    assert CRASH not in codes(found), full.render(found)
    assert list(found) == in_order(list(found))
    assert found == check(spec)


@examples
@given(specs(), st.data())
def test_no_rule_fails_where_declarations_are_missing(spec: Spec, data: st.DataObject) -> None:
    def some(nodes: Any) -> Any:
        return tuple(node for node in nodes if data.draw(st.booleans()))

    draft = attrs.evolve(
        Draft.from_spec(spec),
        grids=some(spec.grids),
        modules=some(tuple(Draft.from_spec(spec).modules)),
        place=spec.place if data.draw(st.booleans()) else None,
        schedule=spec.schedule if data.draw(st.booleans()) else None,
        train=spec.train if data.draw(st.booleans()) else None,
        complete=False,
    )
    found = check(draft)
    assert CRASH not in codes(found), full.render(found)


@examples
@given(st.one_of(specs(), nearly_sound()))
def test_text_has_the_mistakes_of_the_objects_that_it_was_printed_from(spec: Spec) -> None:
    loaded = parse(print_spec(spec))
    found = check(loaded.draft)
    assert codes(found) == codes(check(spec))
    assert all(isinstance(one.primary.where, Span) for one in found), full.render(found)


@examples
@given(st.one_of(specs(), nearly_sound()))
def test_every_mistake_comes_with_help(spec: Spec) -> None:
    for one in check(spec):
        assert one.help, full.render([one])
