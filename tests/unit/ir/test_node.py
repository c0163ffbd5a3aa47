"""How nodes compare: by class and fields, and never by where they were written."""

import pickle

import attrs
import pytest

from mimodsl.ir.node import AT_LEAST_1, Node, Origin, knob, node
from mimodsl.ir.types import Refused
from mimodsl.source import SourceFile, Span


@node
class Width(Node):
    size: int = knob(doc="A size.", check=AT_LEAST_1)
    names: tuple[str, ...] = knob(doc="Names.", default=())


@node
class Height(Width):
    deep: bool = knob(doc="A choice.", default=False)


@node
class Same(Width):
    pass


ORIGIN = Origin(span=Span(SourceFile("a.mimo", "width"), 0, 5))


def test_equal_fields_are_equal_nodes_with_one_hash():
    first, second = Width(size=1, names=["a"]), Width(size=1, names=("a",), origin=ORIGIN)
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second, Width(size=2)}) == 2
    assert attrs.evolve(first, size=2) != first
    assert pickle.loads(pickle.dumps(second)) == first


def test_nodes_of_two_classes_differ():
    assert Width(size=1) != Same(size=1)
    assert Same(size=1) != Width(size=1)
    assert Width(size=1) != 1


def test_a_subclass_compares_and_checks_inherited_fields():
    assert Height(size=1, deep=True) != Height(size=1)
    assert Height(size=1, names=["a"]).names == ("a",)
    with pytest.raises(Refused, match=r"Height\.size: must be at least 1"):
        Height(size=0)


def test_nodes_are_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Width(size=1).size = 2
