"""Objects become the values that JSON has, whatever is inside them."""

import json
from enum import Enum, StrEnum
from math import inf, nan
from pathlib import Path

import pytest
from attrs import frozen

from mimodsl.planner.ranks import Factor, Groups, Ranks
from mimodsl.show.json import LISTED, fields, listed, plain


class Word(StrEnum):
    YES = "yes"


class Number(Enum):
    ONE = 1


@frozen
class Inner:
    where: Path


@frozen
class Outer:
    inner: Inner
    parts: tuple[Inner, ...] = ()

    @property
    def count(self) -> int:
        return len(self.parts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("text", "text"),
        (Word.YES, "yes"),
        (Number.ONE, 1),
        (1.5, 1.5),
        (nan, None),
        (-inf, None),
        (Path("a/b"), "a/b"),
        (range(4, 8), {"first": 4, "count": 4}),
        ((1, (nan, Word.YES)), [1, [None, "yes"]]),
        ({Number.ONE: [Path("a")], Word.YES: 2}, {"1": ["a"], "yes": 2}),
        (Outer(Inner(Path("a"))), {"inner": {"where": "a"}, "parts": []}),
        (Ranks(start=1, factors=(Factor(2, 4),)), {"start": 1, "inner": [[2, 4]]}),
        (
            Groups(start=1, inner=(Factor(2, 4),), outer=(Factor(3, 8),)),
            {"start": 1, "inner": [[2, 4]], "outer": [[3, 8]]},
        ),
    ],
)
def test_every_type_has_its_form(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_fields_take_properties_too_and_keep_the_order():
    document = fields(Outer(Inner(Path("a"))), "count", "inner")
    assert list(document.items()) == [("count", 0), ("inner", {"where": "a"})]


def test_a_long_collection_is_not_listed():
    assert listed(range(2)) == [0, 1]
    assert len(listed(range(LISTED)) or []) == LISTED
    assert listed(range(LISTED + 1)) is None
