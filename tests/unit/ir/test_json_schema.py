"""The published JSON Schema: it takes every spec's document, and refuses what reading refuses."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

import mimodsl
from mimodsl.ir import Spec
from tests.property.strategies import specs

ROOT = Path(__file__).parents[3]
VALIDATOR = jsonschema.Draft202012Validator(mimodsl.json_schema())


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(mimodsl.json_schema())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_every_spec_validates_and_comes_back(spec: Spec) -> None:
    text = mimodsl.to_json(spec)
    VALIDATOR.validate(json.loads(text))
    assert mimodsl.from_json(text) == spec


def test_defaults_may_be_left_out_and_the_schema_named():
    document = json.loads(mimodsl.to_json(mimodsl.load(ROOT / "specs" / "gpt_moe.mimo")))
    document["$schema"] = "spec.schema.json"
    del document["train"]["seed"]
    VALIDATOR.validate(document)
    assert mimodsl.from_json(json.dumps(document)).train.seed == mimodsl.Train().seed


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.update(version=2),
        lambda document: document.pop("version"),
        lambda document: document.pop("type"),
        lambda document: document.pop("schedule"),
        lambda document: document["schedule"].update(later=1),
        lambda document: document["schedule"].update(sequence="long"),
        lambda document: document["schedule"].update(sequence=0),
        lambda document: document["train"].update(precision="fp64"),
        lambda document: document["train"]["optimizer"].update(lr=0),
        lambda document: document["train"]["optimizer"].update(beta1=1),
        lambda document: document["modules"][0].update(kind=3),
        lambda document: document["grids"][0].update(views={}),
    ],
)
def test_what_reading_refuses_the_schema_refuses(damage):
    document = json.loads(mimodsl.to_json(mimodsl.load(ROOT / "specs" / "nemotron_vlm.mimo")))
    damage(document)
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(ValueError):  # noqa: PT011 - each with words of its own
        mimodsl.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"version": 1}'])
def test_text_that_is_no_document_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011
        mimodsl.from_json(text)
