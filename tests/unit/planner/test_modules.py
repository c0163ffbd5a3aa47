"""The plan of every module, and the family that each kind belongs to."""

import re
from pathlib import Path

import attrs
import pytest

import mimodsl
from mimodsl.ir import KINDS, AffineProjector, Attention, Gpt, Hybrid, Kind, Mamba, Moe, Precision
from mimodsl.planner.families import Neighbours, family_of
from mimodsl.planner.families.registry import FAMILIES
from mimodsl.planner.module import ExpertKernels
from mimodsl.planner.plan import plan
from mimodsl.planner.stack import module_layers

ROOT = Path(__file__).parents[3]
PP = mimodsl.load(ROOT / "specs" / "nemotron_vlm_pp.mimo")
GPT = Gpt(
    layers=6,
    hidden=96,
    vocabulary=64,
    attention=Attention(heads=6, kv_groups=2),
    moe=Moe(experts=4, topk=2, ffn=32),
    moe_every=3,
)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.keyword)
def test_every_kind_belongs_to_one_family(kind: type[Kind]) -> None:
    assert sum(issubclass(kind, family.kinds) for family in FAMILIES) == 1


def test_a_kind_without_a_family_is_a_bug() -> None:
    with pytest.raises(TypeError, match="belongs to no family"):
        family_of(Kind())


def test_an_encoder_knows_its_tokens_inside_and_outside() -> None:
    vision = plan(PP).modules["vision"]
    assert vision.inputs == (3, 64, 64)
    assert vision.length == 16 + 8  # class tokens, which it drops at its end
    assert vision.outputs == (4, 256)  # folded by the pixel shuffle
    assert (vision.widths.hidden, vision.widths.head_width) == (64, 16)
    assert vision.trained
    assert not vision.reached


def test_a_projector_takes_its_widths_from_its_neighbours() -> None:
    projector = plan(PP).modules["projector"]
    assert (projector.inputs, projector.outputs) == ((4, 256), (4, 128))
    assert (projector.widths.hidden, projector.widths.ffn) == (128, 4 * 256)
    assert projector.reached
    frozen = plan(PP.with_module("vision", frozen=True)).modules["projector"]
    assert not frozen.reached


def test_a_language_model_has_only_the_blocks_of_its_layers() -> None:
    language = plan(PP.with_module("language", pattern="M|M")).modules["language"]
    assert isinstance(language.kind, Hybrid)
    assert language.kind.attention is None
    assert (language.moe, language.experts) == (None, None)
    assert (language.widths.heads, language.widths.ffn) == (None, None)
    assert language.widths.mamba_heads == 8
    assert language.split_sequence
    assert language.placeholders == 4


def test_residual_and_experts_follow_from_training_and_kind() -> None:
    spec = PP.with_train(precision="bf16").with_module("language", residual_fp32=True)
    language = plan(spec).modules["language"]
    assert (language.precision, language.residual) == (Precision.BF16, Precision.FP32)
    assert language.experts == ExpertKernels(
        grouped=True, fused_permutation=False, fused_routing=False, weighted_activation=True
    )


def test_ranks_take_the_plan_of_their_modules() -> None:
    layout = plan(PP)
    roles = [role for rank in range(layout.world) for role in layout.rank(rank).modules]
    assert {role.name for role in roles} == set(layout.modules)
    assert all(role.plan is layout.modules[role.name] for role in roles)


def test_all_stages_of_a_marked_pattern_make_the_whole() -> None:
    marked, plain = PP, PP.with_module("language", pattern="MEM*EM")
    whole = [module_layers(plan(spec).modules["language"]) for spec in (marked, plain)]
    assert whole[0] == whole[1]
    assert len(whole[0]) == 6 + 2  # with the embedding and the output


def test_stages_of_a_gpt_say_where_its_experts_are() -> None:
    first, last = (family_of(GPT).stage(GPT, index, 2) for index in range(2))
    assert (first.layers, first.symbols) == (range(3), "*E*-*-")
    assert (last.layers, last.symbols) == (range(3, 6), "*E*-*-")
    assert (first.first, first.last, last.last) == (True, False, True)


def test_what_tp_splits_follows_from_the_layers() -> None:
    def split(kind: Kind, near: Neighbours | None = None) -> dict[str, int]:
        near = near or Neighbours()
        return {one.what: one.size for one in family_of(kind).splits(kind, near)}

    assert split(GPT) == {"vocabulary": 64, "heads": 6, "ffn": 384}
    assert split(attrs.evolve(GPT, moe_every=1)) == {"vocabulary": 64, "heads": 6}
    assert split(AffineProjector()) == {}
    assert split(AffineProjector(), Neighbours(language=GPT)) == {"hidden": 96}


def test_a_mixer_whose_heads_do_not_fill_it_has_no_number_of_heads_to_split() -> None:
    assert Mamba(head_dim=64).fits(96)
    assert Mamba(head_dim=64).head_count(96) == 3
    assert not Mamba(head_dim=80).fits(96)
    assert Mamba(heads=5, head_dim=80).fits(96)


def test_the_width_of_a_head_is_worked_out_in_one_place() -> None:
    formula = re.compile(r"hidden // (\w+\.)*heads\b|head_dim or ")
    places = [
        path.relative_to(ROOT / "mimodsl").as_posix()
        for path in (ROOT / "mimodsl").rglob("*.py")
        for line in path.read_text().splitlines()
        if formula.search(line) and not line.lstrip().startswith(("says=", "#"))
    ]
    assert set(places) == {"ir/blocks.py"}
