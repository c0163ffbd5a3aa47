"""Specs made of others: what changes, what stays, and where diagnostics point afterwards."""

from pathlib import Path

import pytest

import mimodsl
from mimodsl.diagnostics import ObjectPath
from mimodsl.source import Span

DEMO = Path(__file__).parents[3] / "specs" / "nemotron_vlm.mimo"


@pytest.fixture
def spec():
    return mimodsl.load(DEMO)


def test_a_view_is_replaced_and_the_others_stay(spec):
    wide = spec.with_grid("encoder", dense={"tp": 4, "dp": 2})
    assert wide.grid("encoder").sizes(wide.grid("encoder").base) == (("tp", 4), ("dp", 2))
    assert wide.grid("llm") is spec.grid("llm")
    assert wide.world == 12
    assert spec.world == 8


def test_a_view_is_added_and_taken_away(spec):
    assert spec.with_grid("llm", expert=None).grid("llm").expert is None
    again = spec.with_grid("encoder", expert={"etp": 1, "ep": 1, "edp": 4, "pp": None})
    assert again.grid("encoder").size("edp") == 4
    with pytest.raises(ValueError, match="needs a view"):
        spec.with_grid("encoder", dense=None)


def test_the_stated_number_of_ranks_goes_with_the_base_view():
    text = DEMO.read_text().replace("grid llm {", "grid llm {\n  ranks = 4")
    spec = mimodsl.parse(text)
    assert spec.with_grid("llm", expert=None).grid("llm").ranks == 4
    assert spec.with_grid("llm", dense={"tp": 1}).grid("llm").ranks is None


def test_fields_of_a_module_merge_into_its_blocks(spec):
    more = spec.with_module("language", frozen=True, moe={"experts": 16}, pattern="ME")
    kind = more.language.kind
    assert (kind.moe.experts, kind.moe.topk, kind.pattern) == (16, 2, "ME")
    assert more.language.frozen
    assert more.language.grid == "llm"


def test_a_block_is_made_where_there_is_none():
    spec = mimodsl.load(DEMO.parent / "gpt_moe.mimo").with_module("language", moe=None)
    assert spec.language.kind.moe is None
    again = spec.with_module("language", moe={"experts": 4, "topk": 1, "ffn": 8})
    assert again.language.kind.moe == mimodsl.Moe(experts=4, topk=1, ffn=8)
    with pytest.raises(ValueError, match=r"Moe: .*experts"):
        spec.with_module("language", moe={"topk": 1})


def test_a_module_takes_another_kind(spec):
    other = spec.with_module("projector", kind=mimodsl.AffineProjector(), bias=True)
    assert other.module("projector").kind == mimodsl.AffineProjector(bias=True)


def test_schedule_and_training(spec):
    other = spec.with_schedule(microbatches=8).with_train(optimizer={"lr": 1e-4}, seed=7)
    assert other.schedule.microbatches == 8
    assert other.schedule.sequence == 64
    assert other.train.optimizer.lr == 1e-4
    assert other.train.optimizer.weight_decay == 0.05


def test_values_at_object_paths(spec):
    other = spec.substitute(
        {
            "grids.llm.views.dense.axes.dp.size": 4,
            "grids.llm.views.expert.axes.edp.size": 4,
            "modules.language.kind.moe.experts": 16,
            "modules.language.moe.topk": 4,
            "flows.vision.images": 2,
            "schedule.microbatches": 2,
        }
    )
    assert other.grid("llm").size("dp") == 4
    assert (other.language.kind.moe.experts, other.language.kind.moe.topk) == (16, 4)
    assert other.flows[0].images == 2
    assert other.schedule.microbatches == 2


def test_diagnostics_point_at_the_paths_that_substitute_takes(spec):
    broken = spec.with_grid("llm", expert={"etp": 1, "ep": 3, "edp": 2, "pp": None})
    (found, *_) = mimodsl.check(broken)
    assert found.code == "MIMO301"
    assert isinstance(found.primary.where, ObjectPath)
    axes = {"etp": 1, "ep": 2, "edp": 2, "pp": None}
    mended = broken.substitute({found.primary.where.path: axes})
    assert mimodsl.check(mended) == ()


def test_what_is_not_changed_keeps_its_place_in_the_text(spec):
    broken = spec.with_schedule(microbatches=8).with_module("projector", bias=True)
    assert isinstance(broken.grid("llm").span(), Span)
    assert broken.module("projector").origin is None
    assert broken.schedule.origin is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.with_grid("lm", dense={"tp": 1}), "no grid 'lm', only encoder, llm"),
        (lambda spec: spec.with_module("visio", layers=1), "no module 'visio', only vision"),
        (lambda spec: spec.with_module("vision", size=1), "Radio has no field 'size'; it has acti"),
        (
            lambda spec: spec.with_module("vision", layer=1),
            "no field 'layer'; did you mean",
        ),
        (lambda spec: spec.with_module("language", vocab_size=1), "did you mean 'vocabulary'"),
        (lambda spec: spec.with_module("language", num_experts=1), r"block: moe={'experts': …}"),
        (lambda spec: spec.with_train(lr=1), r"it belongs in a block: optimizer={'lr': …}"),
        (lambda spec: spec.with_grid("llm", dense="tp:2"), "`Axis`, found 'tp:2'"),
        (lambda spec: spec.with_module("vision", layers={"a": 1}), "takes no block"),
        (lambda spec: spec.with_schedule(microbatches=0), "must be at least 1"),
        (lambda spec: spec.substitute({"modules.language.moe.expert": 1}), "no 'expert' in"),
        (lambda spec: spec.substitute({"modules.nobody.moe": 1}), "no 'nobody' in"),
        (lambda spec: spec.substitute({"schedule.sequence.long": 1}), "no 'long' in"),
        (
            lambda spec: spec.substitute({"grids": 5}),
            "Spec.grids: expected a list, each item `Grid`",
        ),
        (lambda spec: spec.substitute({"grids.llm": None}), "Spec.grids: expected a list"),
        (lambda spec: spec.substitute({"place": 3}), "Spec.place: expected `Placed` or"),
        (lambda spec: spec.substitute({"place.parts": 3}), "Beside.parts: expected a list"),
        (lambda spec: spec.substitute({"schedule": None}), "Spec.schedule: expected `Schedule`"),
        (lambda spec: spec.substitute({"grids.llm.views": 5}), "Grid.views: expected a list"),
        (lambda spec: spec.with_grid("llm", dense={}), "View.axes: must be of at least one item"),
        (lambda spec: spec.with_train(optimizer={"lr": float("inf")}), "AdamW.lr: must be finite"),
        (lambda spec: spec.with_module("language", hidden=2**63), "hidden: must fit into 64 bits"),
        (lambda _: mimodsl.Size(height=0, width=1), "Size.height: must be at least 1, found 0"),
        (lambda _: mimodsl.Size(height=1, width="1"), "Size.width: expected an integer, found '1'"),
    ],
)
def test_what_leads_nowhere_is_refused(spec, change, words):
    with pytest.raises(ValueError, match=words):
        change(spec)


def test_a_sweep_over_object_paths_is_their_product(spec):
    choices = {"schedule.microbatches": (2, 4), "train.seed": (1, 2, 3)}
    found = list(mimodsl.sweep(spec, choices))
    assert len(found) == 6
    assert [one.values["train.seed"] for one in found] == [1, 2, 3] * 2
    assert all(one.spec.train.seed == one.values["train.seed"] for one in found)


def test_a_combination_that_makes_no_spec_says_why_and_the_others_go_on():
    found = list(mimodsl.sweep(DEMO, {"replicas": (0, 3, 2)}))
    assert [one.is_sound for one in found] == [False, True, True]
    assert found[0].spec is None
    assert [one.code for one in found[0].diagnostics] == ["MIMO203"] * len(found[0].diagnostics)


def test_a_sweep_checks_what_it_makes(spec):
    (found,) = mimodsl.sweep(spec, {"modules.language.moe.experts": (7,)})
    assert not found.is_sound
    assert found.diagnostics == mimodsl.check(found.spec)


def test_a_sweep_over_a_file_sets_its_constants():
    found = mimodsl.sweep(DEMO, {"replicas": (1, 2, 4)})
    assert [one.spec.world for one in found] == [4, 8, 16]
