"""Shrinking keeps the layout, the kinds of layers and every ratio that a layout rests on."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mimodsl
from mimodsl.ir import Attention, Axis, Beside, Gpt, Grid, Hybrid, Mamba, Moe, Radio, Spec
from mimodsl.ir.types import Size
from mimodsl.planner.families import Room, family_of
from mimodsl.planner.families.hybrid import shortest_with_every_symbol
from mimodsl.runtime.verify.reference import alone, comparable
from mimodsl.runtime.verify.shrink import (
    MOST_RANKS,
    TooManyRanks,
    changes,
    fewer_replicas,
    shrink,
)

SPECS = Path(__file__).parents[2] / "specs"
PRODUCTION = """
use "presets/nemotron.mimo"

let replicas = 2
let experts  = 4

grid encoder {
  dense = tp:2 * dp:replicas
}

grid llm {
  dense  = tp:2 * cp:1 * dp:replicas * pp:2
  expert = etp:1 * ep:experts * edp:_ * pp
  ranks  = 4 * replicas
}

place encoder | llm

module vision : radio_h {
  grid   = encoder
  frozen = true
}

module projector : mlp_projector {
  grid = encoder
}

module language : nemotron_3_nano {
  grid      = llm
  attention = { kv_groups = 8 }
  pattern   = "MEMEM*EMEMEM*E|MEMEM*EMEMEM*E"
}

flow vision -> projector -> language {
  token  = 131071
  images = 3
}

schedule 1f1b {
  sequence     = 8192
  micro_batch  = 4
  microbatches = 64
}

train {
  precision = bf16
  optimizer = adamw { lr = 2e-4 }
}
"""


def errors(spec: Spec) -> list[str]:
    return [found.message for found in mimodsl.check(spec) if found.is_error]


@pytest.fixture(scope="module")
def production() -> Spec:
    spec = mimodsl.parse(PRODUCTION)
    assert errors(spec) == []
    return spec


def kinds(spec: Spec) -> dict[str, Any]:
    return {module.name: module.kind for module in spec.modules}


def test_a_production_spec_gets_laptop_widths(production):
    small = shrink(production)
    assert errors(small) == []
    assert small.world == production.world == 12
    language = kinds(small)["language"]
    assert (language.hidden, language.vocabulary) == (64, 256)
    assert (language.moe.experts, language.moe.topk) == (8, 2)
    assert kinds(small)["vision"].image == Size(height=64, width=64)
    assert small.schedule.sequence <= 64
    assert small.flows[0].token == 255


def test_every_stage_keeps_each_kind_of_its_layers_in_order(production):
    before = kinds(production)["language"].stages(2)
    after = kinds(shrink(production))["language"].stages(2)
    assert [set(stage) for stage in after] == [set(stage) for stage in before]
    assert all(short in long for short, long in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("pattern", "run"),
    [("MEMEM*EMEM", "EM*"), ("M", "M"), ("MMMM", "M"), ("M*", "M*"), ("M-EE*M", "M-EE*"), ("", "")],
)
def test_the_shortest_run_with_every_kind(pattern, run):
    assert shortest_with_every_symbol(pattern) == run


@pytest.mark.parametrize("name", ["nemotron_vlm", "nemotron_vlm_colocated", "nemotron_vlm_pp"])
def test_what_is_small_stays(name):
    spec = mimodsl.load(SPECS / f"{name}.mimo")
    assert shrink(spec) == spec


def test_replicas_become_fewer_and_the_rest_of_the_layout_stays():
    spec = mimodsl.parse(PRODUCTION.replace("replicas = 2", "replicas = 16"))
    assert spec.world == 96
    fewer = fewer_replicas(spec)
    assert errors(fewer) == []
    assert fewer.world <= MOST_RANKS
    llm = fewer.grid("llm")
    assert [llm.size(axis) for axis in ("tp", "cp", "pp", "ep", "etp")] == [2, 1, 2, 4, 1]


def test_of_what_fits_the_bridge_s_direction_is_kept():
    spec = mimodsl.load(SPECS / "nemotron_vlm.mimo")
    encoder = Grid(name="encoder", views={"dense": {"dp": 32}})
    llm = Grid(
        name="llm",
        views={"dense": {"tp": 2, "dp": 16}, "expert": {"ep": 2, "edp": 16, "pp": None}},
    )
    wide = attrs.evolve(spec, grids=(encoder, llm), place=Beside(parts=("encoder", "llm")))
    fewer = fewer_replicas(wide)
    assert fewer.world <= MOST_RANKS
    assert fewer.grid("encoder").size("dp") > fewer.grid("llm").size("dp") > 1


def test_too_many_ranks_that_are_no_replicas():
    spec = mimodsl.load(SPECS / "nemotron_vlm.mimo")
    llm = Grid(
        name="llm",
        views={"dense": {"tp": 8, "pp": 8}, "expert": {"ep": 8, "edp": 1, "pp": None}},
    )
    large = attrs.evolve(spec, grids=(spec.grids[0], llm))
    with pytest.raises(TooManyRanks, match="68 ranks, and 66 with the fewest replicas"):
        fewer_replicas(large)


def test_changes_name_every_field_that_differs(production):
    found = {
        change.field: (change.old, change.new)
        for change in changes(production, comparable(shrink(production)))
    }
    assert found["language.moe.experts"] == ("128", "8")
    assert found["language.moe.aux_loss"] == ("0.0001", "0.0")
    assert found["train.precision"] == ("bf16", "fp32")
    assert found["vision.image"] == ("512x512", "64x64")
    assert found["flow vision.token"] == ("131071", "255")
    assert changes(production, production) == ()


def test_one_rank_has_the_same_samples_a_step(production):
    small = comparable(shrink(production))
    one = alone(small)
    assert errors(one) == []
    assert one.world == 1
    dp = small.grid_of(small.language).size("dp")
    assert one.schedule.microbatches == small.schedule.microbatches * dp
    assert one.schedule.micro_batch == small.schedule.micro_batch
    assert "|" not in kinds(one)["language"].pattern


POWERS = st.sampled_from((1, 2, 4, 8))


@st.composite
def language_models(draw: st.DrawFn) -> tuple[Gpt | Hybrid, Grid]:
    """Wide models with sizes that divide over the ranks of their grid."""
    tp, cp, dp, pp = draw(POWERS), draw(st.sampled_from((1, 2))), draw(POWERS), draw(POWERS)
    ep = draw(st.sampled_from([size for size in (1, 2, 4, 8) if (tp * cp * dp) % size == 0]))
    grid = Grid(
        name="llm",
        views={
            "dense": {"tp": tp, "cp": cp, "dp": dp, "pp": pp},
            "expert": {"ep": ep, "edp": tp * cp * dp // ep, "pp": None},
        },
    )
    groups = draw(POWERS) * tp
    common: dict[str, Any] = {
        "hidden": 4096,
        "vocabulary": 65536,
        "attention": Attention(
            heads=groups * draw(POWERS),
            kv_groups=draw(st.sampled_from((groups, None))),
            head_dim=128,
        ),
        "moe": Moe(
            experts=64,
            topk=draw(st.sampled_from((1, 4, 8))),
            ffn=1024,
            groups=draw(st.sampled_from((None, 8))),
            group_topk=None,
        ),
    }
    if draw(st.booleans()):
        return Gpt(
            layers=pp * draw(st.integers(1, 9)), moe_every=draw(st.integers(1, 3)), **common
        ), grid
    stage = draw(st.text("M*E-", min_size=1, max_size=12))
    mamba = Mamba(heads=tp * 2 * 8, groups=tp * 2)
    return Hybrid(pattern="|".join([stage] * pp), mamba=mamba, **common), grid


@settings(max_examples=150, deadline=None, derandomize=True)
@given(language_models())
def test_small_language_models_divide_as_before(drawn):
    kind, grid = drawn
    small = family_of(kind).small(kind, Room(grid=grid))
    tp, ep, cp = grid.size("tp"), grid.size("ep"), grid.size("cp")
    attention, moe = small.attention, small.moe
    assert small.hidden % tp == small.vocabulary % tp == attention.heads % tp == 0
    assert attention.heads % attention.key_value_groups == 0
    assert attention.key_value_groups % tp == 0
    assert moe.experts % ep == 0 == moe.experts % (moe.groups or 1)
    assert moe.experts >= max(moe.topk, min(2 * ep, kind.moe.experts))
    for field in ("hidden", "vocabulary"):
        assert getattr(small, field) <= getattr(kind, field)
    if isinstance(small, Hybrid):
        assert len(small.stages(grid.size("pp"))) == grid.size("pp")
        assert small.mamba.groups % tp == small.mamba.heads % small.mamba.groups == 0
        assert small.mamba.heads // tp % cp == 0
    else:
        assert small.layers % grid.size("pp") == 0


def test_an_image_stays_as_wide_as_it_was_high(production):
    kind = attrs.evolve(kinds(production)["vision"], image=Size(height=512, width=1024))
    assert isinstance(kind, Radio)
    wide = attrs.evolve(
        production,
        modules=(attrs.evolve(production.modules[0], kind=kind), *production.modules[1:]),
    )
    assert kinds(shrink(wide))["vision"].image == Size(height=64, width=128)


def test_an_axis_of_a_second_view_is_divided_too():
    spec = mimodsl.load(SPECS / "nemotron_vlm_colocated.mimo", {"world": "128"})
    fewer = fewer_replicas(spec)
    assert fewer.world == MOST_RANKS
    assert fewer.grid("llm").base.axis("dp") == Axis(name="dp", size=16)
    assert fewer.grid("llm").size("edp") == 16
    assert errors(fewer) == []
