"""Specs as documents: every spec comes back the same, and anything else is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import mimodsl
from mimodsl.ir import Spec
from mimodsl.ir.document import as_document, from_document
from tests.property.strategies import specs

DEMO = Path(__file__).parents[3] / "specs" / "nemotron_vlm.mimo"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_a_spec_comes_back_the_same(spec: Spec) -> None:
    assert from_document(json.loads(json.dumps(as_document(spec)))) == spec


def test_names_that_the_language_has_not_come_back_too() -> None:
    spec = mimodsl.load(DEMO)
    document = json.loads(json.dumps(as_document(spec)).replace('"encoder"', '"my encoder!"'))
    assert from_document(document).grids[0].name == "my encoder!"


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.pop("type"),
        lambda document: document.update(type="module"),
        lambda document: document.update(type=["spec"]),
        lambda document: document["train"].update(precision="fp64"),
        lambda document: document["schedule"].update(sequence="long"),
        lambda document: document["schedule"].update(later=1),
        lambda document: document.pop("grids"),
    ],
)
def test_anything_else_is_refused(damage) -> None:
    document = json.loads(json.dumps(as_document(mimodsl.load(DEMO))))
    damage(document)
    with pytest.raises(ValueError):  # noqa: PT011 - each with words of its own
        from_document(document)
