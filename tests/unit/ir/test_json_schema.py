"""Specs as documents: all come back the same, and reading and the schema refuse anything else."""

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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_every_spec_validates_and_comes_back(spec: Spec) -> None:
    text = mimodsl.to_json(spec)
    VALIDATOR.validate(json.loads(text))
    assert mimodsl.from_json(text) == spec


def test_names_that_the_language_has_not_come_back_too():
    text = mimodsl.to_json(mimodsl.load(ROOT / "specs" / "nemotron_vlm.mimo"))
    spec = mimodsl.from_json(text.replace('"encoder"', '"my encoder!"'))
    assert spec.grids[0].name == "my encoder!"


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
        lambda document: document.update(type="module"),
        lambda document: document.update(type=["spec"]),
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "the document is not a spec"),
        ("3", "the document is not a spec"),
        ("{", "Expecting property name"),
        ('{"version": 1}', "the field `type` is missing"),
        ('{"a": 1,\n"a": 2}', "<json>:2:1: the key `a` appears twice"),
        ('{"a": NaN}', "<json>:1:7: NaN is not a JSON number"),
        ('{"a": ' * 5000, "nested too deeply"),
    ],
)
def test_text_that_is_no_document_is_a_value_error(text, words):
    with pytest.raises(ValueError, match=words):
        mimodsl.from_json(text)
