"""Differences of specs by meaning; and which fields fix weights, so that no field is forgotten."""

from pathlib import Path

import attrs
import pytest

import mimodsl
from mimodsl.ir import KINDS, AdamW, Attention, Axis, Gpt, Grid, Kernels, Mamba, Moe, Spec, View
from mimodsl.ir.schema import schema
from mimodsl.planner.difference import (
    LAYOUT_FIELDS,
    TRAINING_FIELDS,
    Aspect,
    Difference,
    differences,
)
from mimodsl.planner.transfer import Transfer, left_out, transfers
from mimodsl.planner.weights import weights_of

SPECS = Path(__file__).parents[3] / "specs"
DEMO = mimodsl.load(SPECS / "nemotron_vlm.mimo")
COLOCATED = mimodsl.load(SPECS / "nemotron_vlm_colocated.mimo")
PIPELINE = mimodsl.load(SPECS / "nemotron_vlm_pp.mimo")


def with_kind(spec: Spec, name: str, **changes: object) -> Spec:
    modules = [
        attrs.evolve(one, kind=attrs.evolve(one.kind, **changes)) if one.name == name else one
        for one in spec.modules
    ]
    return attrs.evolve(spec, modules=modules)


def with_block(spec: Spec, block: str, **changes: object) -> Spec:
    changed = attrs.evolve(getattr(spec.language.kind, block), **changes)
    return with_kind(spec, "language", **{block: changed})


def found(a: Spec, b: Spec) -> list[tuple[str, ...]]:
    return [
        (str(one.aspect), one.where, one.field, str(one.before), str(one.after))
        for one in differences(a, b)
    ]


@pytest.mark.parametrize("spec", [DEMO, COLOCATED, PIPELINE])
def test_a_spec_does_not_differ_from_itself(spec):
    assert differences(spec, mimodsl.parse(str(spec))) == ()


def test_what_is_only_written_otherwise_is_no_difference():
    encoder, llm = DEMO.grids
    views = [View(name="base", axes=[Axis(name="tp", size=2), Axis(name="dp", size=2)])]
    views.append(llm.views[1])
    llm = Grid(name="llm", views=views, ranks=4)
    assert differences(DEMO, attrs.evolve(DEMO, grids=(encoder, llm))) == ()


def test_another_layout_of_the_same_model_differs_in_layout_alone():
    assert {one.aspect for one in differences(DEMO, PIPELINE)} == {Aspect.LAYOUT}
    assert found(DEMO, PIPELINE)[-2:] == [
        ("layout", "module language", "pattern", "MEM*EM", "MEM|*EM"),
        ("layout", "schedule", "micro_batch", "1", "2"),
    ]


@pytest.mark.parametrize("a", [DEMO, COLOCATED, PIPELINE])
@pytest.mark.parametrize("b", [DEMO, COLOCATED, PIPELINE])
def test_a_shared_axis_differs_where_it_is_written(a, b):
    assert [one for one in differences(a, b) if one.before == one.after] == []
    pipelines = [spec.grid_of(spec.language).size("pp") for spec in (a, b)]
    told = ("grid llm", "dense") in {(one.where, one.field) for one in differences(a, b)}
    assert told or pipelines[0] == pipelines[1]


def test_layout_model_and_training_come_in_this_order():
    changed = with_block(with_kind(DEMO, "vision", layers=3), "moe", experts=16, aux_loss=0.5)
    train = attrs.evolve(DEMO.train, optimizer=AdamW(lr=1e-3), kernels=Kernels.LOCAL)
    changed = attrs.evolve(changed, train=train)
    assert found(DEMO, changed) == [
        ("layout", "train", "kernels", "auto", "local"),
        ("model", "module vision", "layers", "2", "3"),
        ("model", "module language", "moe.experts", "8", "16"),
        ("training", "module language", "moe.aux_loss", "0.0", "0.5"),
        ("training", "train", "optimizer.lr", "0.003", "0.001"),
        ("training", "train", "optimizer.weight_decay", "0.05", "0.01"),
    ]


def test_a_larger_global_batch_is_a_difference_of_training():
    schedule = attrs.evolve(DEMO.schedule, microbatches=8)
    assert found(DEMO, attrs.evolve(DEMO, schedule=schedule)) == [
        ("layout", "schedule", "microbatches", "4", "8"),
        ("training", "schedule", "samples a step", "8", "16"),
    ]


def test_declarations_of_one_spec_alone_are_named():
    alone = attrs.evolve(
        DEMO, grids=DEMO.grids[1:], place="llm", modules=DEMO.modules[2:], flows=()
    )
    assert Difference(
        aspect=Aspect.MODEL, where="module vision", field="", before="declared", after=None
    ) in differences(DEMO, alone)
    assert ("layout", "grid encoder", "", "None", "declared") in found(alone, DEMO)
    assert transfers(DEMO, alone) == (Transfer(module="language"),)
    assert left_out(DEMO, alone) == ("vision", "projector")
    assert [one.reason for one in transfers(alone, DEMO)] == [
        "there is no encoder of the name vision",
        "there is no projector behind vision",
        None,
    ]


def test_a_block_that_one_has_alone_is_shown_by_its_name():
    gpt = Gpt(hidden=64, vocabulary=512, layers=2, attention=Attention(heads=4))
    dense = attrs.evolve(DEMO, modules=[*DEMO.modules[:2], attrs.evolve(DEMO.modules[2], kind=gpt)])
    sparse = with_kind(dense, "language", moe=Moe(experts=4, topk=1, ffn=8))
    assert found(dense, sparse) == [("model", "module language", "moe", "none", "moe { … }")]
    assert found(DEMO, dense)[0] == ("model", "module language", "", "hybrid", "gpt")


def test_every_module_loads_into_another_layout():
    assert transfers(DEMO, COLOCATED) == (
        Transfer(module="vision", resharded=("tp 2 → 1", "dp 2 → 8")),
        Transfer(module="projector", resharded=("tp 2 → 1", "dp 2 → 8")),
        Transfer(module="language", resharded=("dp 2 → 4", "edp 2 → 4")),
    )
    assert left_out(DEMO, COLOCATED) == ()


@pytest.mark.parametrize(
    ("changed", "module", "reason"),
    [
        (with_kind(DEMO, "vision", heads=8), "vision", "heads: 4 → 8"),
        (with_kind(DEMO, "projector", norm=None), "projector", "norm: rmsnorm → none"),
        (with_kind(DEMO, "projector", activation="swiglu"), "projector", "activation: not gated"),
        (with_kind(DEMO, "vision", pixel_shuffle=False), "projector", "input width: 256 → 64"),
        (with_kind(DEMO, "language", pattern="MEM*EMM"), "language", "pattern: MEM*EM → MEM*EMM"),
        (with_block(DEMO, "attention", heads=8), "language", "attention.heads: 4 → 8"),
        (with_block(DEMO, "mamba", groups=4), "language", "mamba.groups: 2 → 4"),
        (with_block(DEMO, "moe", shared_ffn=None), "language", "moe.shared_ffn: 128 → none"),
    ],
)
def test_the_first_field_against_a_module_is_told(changed, module, reason):
    told = {one.module: one.reason for one in transfers(DEMO, changed) if not one.loads}
    assert told[module].startswith(reason)


@pytest.mark.parametrize(
    "changed",
    [
        with_block(DEMO, "moe", topk=4, scaling=2.0, balance="sinkhorn"),
        with_block(DEMO, "attention", kv_groups=2, head_dim=32),
        with_kind(DEMO, "language", ffn=17, rope_base=7, norm_eps=1e-3, dropout=0.5),
        with_kind(DEMO, "vision", image=mimodsl.Size(height=128, width=128), activation="relu"),
        with_kind(DEMO, "projector", ffn=1024),
    ],
    ids=["routing", "said, not derived", "no weights in it", "image", "the default, said"],
)
def test_what_fixes_no_weights_stands_against_no_module(changed):
    assert all(one.loads for one in transfers(DEMO, changed))


FREE = {
    *("activation", "norm_eps", "rope_base", "rope_fraction", "residual_fp32"),
    *("pixel_shuffle", "drop_class_tokens", "image", "dynamic_resolution", "positions"),
    *("topk", "score", "pre_softmax", "scaling", "groups", "group_topk", "router_dtype"),
}
"""What changes the function of the same weights, or fixes them for some kinds only."""


def test_every_field_of_a_kind_is_known_to_fix_weights_or_not():
    """A new field has to be put into `weights_of`, or here: silence would load it wrongly."""
    fixed = {name.rpartition(".")[2] for spec in (DEMO, GPT, VIT) for name in keys(spec)}
    names = {
        field.name
        for cls in (*KINDS.values(), Attention, Mamba, Moe)
        for field in schema(cls)
        if field.name not in {"attention", "mamba", "moe"}
    }
    assert names <= fixed | FREE | LAYOUT_FIELDS | TRAINING_FIELDS
    assert names & fixed & (LAYOUT_FIELDS | TRAINING_FIELDS) == set()


def keys(spec: Spec) -> set[str]:
    return {key for module in spec.modules for key in weights_of(spec, module)}


GPT = with_kind(
    attrs.evolve(
        DEMO,
        modules=[
            *DEMO.modules[:2],
            attrs.evolve(
                DEMO.language,
                kind=Gpt(
                    hidden=64,
                    vocabulary=512,
                    layers=2,
                    attention=Attention(heads=4),
                    moe=Moe(experts=4, topk=1, ffn=8),
                    moe_every=2,
                ),
            ),
        ],
    ),
    "language",
    tie_embeddings=True,
)
VIT = with_kind(DEMO, "language", pattern="MEM*EM-")
