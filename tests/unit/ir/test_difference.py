"""Differences of specs by meaning; and what the facts of every field say of them and of weights."""

from pathlib import Path
from typing import ClassVar

import attrs
import pytest

import mimodsl
from mimodsl.ir import (
    KINDS,
    AdamW,
    AffineProjector,
    Attention,
    Axis,
    Gpt,
    Grid,
    Kernels,
    Moe,
    Size,
    Spec,
    View,
)
from mimodsl.ir.facts import SHAPES, Aspect
from mimodsl.ir.kinds import Activation
from mimodsl.ir.node import Keyword, Node, knob, node
from mimodsl.ir.package import CustomEncoder
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.planner.difference import Difference, differences
from mimodsl.planner.transfer import Transfer, left_out, transfers
from mimodsl.planner.weights import weights_of
from tests.unit.builder import models as specs

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


KINDS_OF_SPECS = {
    "radio": (specs.spec(), "vision"),
    "vit": (specs.spec(encoder=specs.VIT), "vision"),
    "mlp_projector": (specs.spec(), "projector"),
    "affine_projector": (specs.spec(projector=AffineProjector()), "projector"),
    "gpt": (specs.spec(specs.MOE_GPT), "language"),
    "hybrid": (specs.spec(specs.HYBRID), "language"),
}
"""A spec for every kind in which all of the kind's fields have an effect, and the module."""

OTHERS: dict[type, object] = {
    bool: True,
    int: 6,
    float: 0.25,
    Size: Size(height=80, width=80),
}


def fields_of_kinds():
    for keyword, kind in KINDS.items():
        for field in schema(kind):
            blocks = field.blocks.values()
            inner = [(field.name, one) for cls in blocks for one in schema(cls)]
            for block, one in inner or [("", field)]:
                path = f"{block}.{one.name}" if block else one.name
                yield pytest.param(keyword, block, one, id=f"{keyword}.{path}")


def another(node: Node, field: FieldSchema) -> object:
    """Another value of a field."""
    before = getattr(node, field.name)
    base = field.type.bases[0]
    if field.name == "pattern":
        return f"{before}*"
    if isinstance(before, bool):
        return not before
    if isinstance(before, Activation):
        return Activation.GELU if before.gated else Activation.GEGLU
    if base not in OTHERS and issubclass(base, Keyword):
        return next(member for member in reversed(base) if member is not before)
    assert before != OTHERS[base]
    return OTHERS[base]


@pytest.mark.parametrize(("keyword", "block", "field"), list(fields_of_kinds()))
def test_a_field_changes_what_its_facts_say(keyword, block, field):
    spec, name = KINDS_OF_SPECS[keyword]
    kind = spec.module(name).kind
    node = getattr(kind, block) if block else kind
    value = another(node, field)
    changes = {block: attrs.evolve(node, **{field.name: value})} if block else {field.name: value}
    other = with_kind(spec, name, **changes)
    same = weights_of(spec, spec.module(name)) == weights_of(other, other.module(name))
    # RADIO interpolates its positions, a plain ViT has one for each patch.
    assert same is (field.changes is not SHAPES or (keyword, field.name) == ("radio", "image"))
    (difference,) = differences(spec, other)
    path = f"{block}.{field.name}" if block else field.name
    assert (difference.where, difference.field) == (f"module {name}", path)
    assert difference.aspect is field.changes.aspect


def test_a_field_of_another_package_is_taken_to_fix_weights():
    spec = specs.spec()
    kind = Foreign(width=3)
    module = attrs.evolve(spec.modules[0], kind=kind)
    assert weights_of(spec, module) == {"kind": "foreign", "width": 3, "linear": (3, 4)}


@node
class Foreign(CustomEncoder):
    """An encoder as another package defines one, without facts of its field."""

    keyword: ClassVar[str] = "foreign"
    builder: ClassVar[str] = "foreign:build"

    width: int = knob(doc="channels")

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        return {"linear": (self.width, 4)}
