"""Every field has its facts, and says each of them once."""

from typing import ClassVar

import pytest

from mimodsl.ir import Ddp, Gpt, Moe, Norm, Positions, Precision, RouterPrecision, Schedule
from mimodsl.ir.blocks import Attention, Score
from mimodsl.ir.facts import FUNCTION, LAYOUT, SHAPES, Aspect, Changes, Derived, Facts, unnamed
from mimodsl.ir.lr_decay import WsdLr
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.node import Node, knob, node
from mimodsl.ir.schema import FieldSchema, schema
from tests.unit.ir.fields import classes, label, rows


@pytest.mark.parametrize(("cls", "field"), rows(), ids=label)
def test_every_field_has_its_facts(cls: type[Node], field: FieldSchema) -> None:
    assert field.facts is not None, f"state the facts of {cls.__name__}.{field.name}"


@pytest.mark.parametrize("cls", classes(), ids=label)
def test_a_name_means_one_field_of_a_class(cls: type[Node]) -> None:
    known = {field.name for field in schema(cls)}
    meant: dict[str, str] = {}
    for field in schema(cls):
        assert field.facts is not None
        for name in field.facts.names:
            assert meant.setdefault(name, field.name) == field.name
            assert name == field.name or name not in known, f"{name} is another field"


def test_a_flag_that_does_not_follow_must_be_stated() -> None:
    assert Facts(SHAPES, megatron="num_layers", hf=None).flag == "num-layers"
    assert Facts(SHAPES, megatron="GPTModel.vocab_size", hf=None).flag == "vocab-size"
    for megatron in (None, Derived("bf16", "fp16")):
        with pytest.raises(TypeError, match="must be stated"):
            Facts(SHAPES, megatron=megatron, hf=None)


def test_names_are_the_nearest_of_each_program() -> None:
    facts = Facts(
        SHAPES,
        megatron=Derived("GPTModel.first", "second"),
        flag="the-flag",
        hf="key other_key",
        also="key word",
    )
    assert facts.names == ("first", "the_flag", "key", "other_key", "word")
    assert unnamed(SHAPES).names == ()
    derived = Facts(SHAPES, megatron=None, flag=Derived("global-batch-size"), hf=None)
    assert derived.names == (), "a flag of another value is no name of the field"


def test_a_redeclared_field_keeps_its_facts_unless_it_states_others() -> None:
    @node
    class Base(Node):
        tag: ClassVar[str] = "base"
        one: int = knob(default=1, doc="a number", facts=unnamed(LAYOUT))
        two: int = knob(default=1, doc="a number", facts=unnamed(LAYOUT))

    @node
    class Other(Base):
        one: int = knob(default=2, doc="a number")
        two: int = knob(default=2, doc="a number", facts=unnamed(FUNCTION))

    changes = {field.name: field.changes for field in schema(Other)}
    assert changes == {"one": LAYOUT, "two": FUNCTION}
    assert Other(one=3).one == 3


def test_a_field_without_facts_may_change_shapes() -> None:
    @node
    class Foreign(Node):
        width: int = knob(default=1, doc="a number")

    (field,) = schema(Foreign)
    assert field.facts is None
    assert field.changes is SHAPES


def test_the_aspect_of_what_changes() -> None:
    assert {one: one.aspect for one in Changes} == {
        Changes.LAYOUT: Aspect.LAYOUT,
        Changes.SHAPES: Aspect.MODEL,
        Changes.FUNCTION: Aspect.MODEL,
        Changes.TRAINING: Aspect.TRAINING,
    }


def test_values_are_copied_in_megatrons_words() -> None:
    moe = Moe(experts=4, topk=2, ffn=8, score=Score.SIGMOID, router_dtype=RouterPrecision.MODEL)
    found = megatron_fields(moe)
    assert found["moe_router_score_function"] == "sigmoid"
    assert found["moe_router_dtype"] is None
    assert "moe_grouped_gemm" not in found
    gpt = Gpt(hidden=8, vocabulary=8, layers=2, attention=Attention(heads=2), norm=Norm.RMSNORM)
    assert megatron_fields(gpt)["normalization"] == "RMSNorm"
    assert "num_attention_heads" not in megatron_fields(gpt), "a block is asked on its own"
    assert megatron_fields(Ddp(bucket=7))["bucket_size"] == 7
    assert megatron_fields(WsdLr(steps=9, anneal=3))["wsd_decay_steps"] == 3
    assert megatron_fields(Schedule(kind="1f1b", sequence=8)) == {}
    assert (Positions.LEARNED.megatron, Precision.BF16.megatron) == ("learned_absolute", "bf16")


def test_what_a_field_needs_is_told_of_its_node() -> None:
    needs = {
        field.name: (field.facts.needs.words, field.facts.needs.field)
        for field in schema(Moe)
        if field.facts and field.facts.needs
    }
    assert needs == {
        "pre_softmax": ("`score = softmax`", "score"),
        "bias_rate": ("`expert_bias = true`", "expert_bias"),
    }


@pytest.mark.parametrize(("cls", "field"), rows(), ids=label)
def test_what_decides_a_need_is_a_field_of_the_same_class(
    cls: type[Node], field: FieldSchema
) -> None:
    needs = field.facts and field.facts.needs
    if needs and needs.field:
        assert needs.field in {other.name for other in schema(cls)}
