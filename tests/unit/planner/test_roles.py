"""What a rank holds and which samples it works on."""

import pytest

from mimodsl.ir import Hybrid, Spec
from mimodsl.planner.plan import Layout, RankPlan, plan
from tests.unit.planner.specs import GPT, HYBRID, PIPELINE, SHARED, SIDE_BY_SIDE, WIDE, alone, vlm


def names(rank: RankPlan) -> list[str]:
    return [role.name for role in rank.modules]


def test_layouts() -> None:
    assert plan(SIDE_BY_SIDE).layout is Layout.NON_COLOCATED
    assert plan(SHARED).layout is Layout.COLOCATED
    assert plan(alone({"tp": 2})).layout is Layout.SINGLE


def test_side_by_side_each_rank_holds_one_side() -> None:
    planned = plan(SIDE_BY_SIDE)
    assert [names(planned.rank(rank)) for rank in (0, 3)] == [["vision", "projector"]] * 2
    assert names(planned.rank(4)) == ["language"]
    assert planned.rank(5).coordinates == {
        "llm": {
            "base": {"tp": 1, "cp": 0, "dp": 0, "pp": 0},
            "expert": {"etp": 0, "ep": 1, "edp": 0, "pp": 0},
        }
    }


def test_on_the_same_ranks_each_rank_holds_everything() -> None:
    rank = plan(SHARED).rank(5)
    assert names(rank) == ["vision", "projector", "language"]
    assert rank.coordinates["encoder"]["base"]["dp"] == 5
    assert rank.coordinates["llm"]["base"] == {"tp": 1, "dp": 2, "cp": 0, "pp": 0}


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 8 is not in the world of 8 ranks"):
        plan(PIPELINE).rank(8)
    with pytest.raises(ValueError, match="rank -1"):
        plan(PIPELINE).rank(-1)


def layers(spec: Spec, rank: int) -> tuple[range, str]:
    role = plan(spec).rank(rank).module("language")
    assert role is not None
    return role.layers, role.pattern


def test_a_pattern_without_marks_divides_evenly() -> None:
    assert layers(PIPELINE, 4) == (range(3), "MEM")
    assert layers(PIPELINE, 6) == (range(3, 6), "*EM")


def test_a_pattern_with_marks_divides_there() -> None:
    uneven = Hybrid(
        hidden=64, vocabulary=64, pattern="M|*EM|", mamba=HYBRID.mamba, attention=HYBRID.attention
    )
    spec = alone({"pp": 3}, language=uneven)
    assert [layers(spec, rank) for rank in range(3)] == [
        (range(1), "M"),
        (range(1, 4), "*EM"),
        (range(4, 4), ""),
    ]


def test_like_layers_divide_evenly() -> None:
    spec = alone({"tp": 2, "pp": 3}, language=GPT)
    assert [layers(spec, rank)[0] for rank in (0, 3, 5)] == [range(2), range(2, 4), range(4, 6)]


def test_stages_know_their_ends() -> None:
    roles = [plan(PIPELINE).rank(rank).module("language") for rank in (5, 6)]
    assert [(role.stage, role.first, role.last) for role in roles if role] == [
        (0, True, False),
        (1, False, True),
    ]


def test_experts_are_dealt_along_ep() -> None:
    planned = plan(SIDE_BY_SIDE)
    found = [planned.rank(rank).modules[-1].experts for rank in (3, 4, 5, 6)]
    assert found == [range(0), range(4), range(4, 8), range(4)]


def test_a_stage_without_expert_layers_has_no_experts() -> None:
    spec = alone({"pp": 2}, language=Hybrid(**{**fields(HYBRID), "pattern": "M*M|E-E"}))
    assert [plan(spec).rank(rank).modules[0].experts for rank in (0, 1)] == [range(0), range(8)]


def fields(kind: Hybrid) -> dict[str, object]:
    return {name: getattr(kind, name) for name in ("hidden", "vocabulary", "attention", "moe")}


def test_samples_of_replicas() -> None:
    planned = plan(SHARED)
    rank = planned.rank(5)
    assert [role.samples(0) for role in rank.modules] == [range(5, 6), range(5, 6), range(4, 6)]
    assert [role.samples(1) for role in rank.modules] == [range(13, 14)] * 2 + [range(12, 14)]


def test_ranks_that_differ_in_tp_alone_work_on_the_same_samples() -> None:
    planned = plan(SIDE_BY_SIDE)
    assert [planned.rank(rank).modules[0].samples(3) for rank in range(8)] == [
        range(6, 7),
        range(6, 7),
        range(7, 8),
        range(7, 8),
    ] * 2


def test_summary() -> None:
    summary = plan(PIPELINE).summary()
    assert (summary.world, summary.layout, summary.stages) == (8, "non-colocated", 3)
    assert (summary.batch, summary.tokens) == (8, 8 * 64)
    assert summary.group_names == len(list(plan(PIPELINE).groups()))
    assert summary.groups == sum(group.count for group in plan(PIPELINE).groups())
    assert summary.bubble == pytest.approx(2 / 6)


def test_one_rank_of_a_wide_world() -> None:
    rank = plan(WIDE).rank(plan(WIDE).world - 1)
    (role,) = rank.modules
    assert (role.layers, role.experts) == (range(60, 64), range(126, 128))
    assert role.samples(0) == range(4 * (2**16 - 1), 4 * 2**16)
    assert rank.schedule.stage == 16
    assert sum(len(members) for _, members in rank.groups) > 2**16


def test_bridge_parts() -> None:
    wider = vlm(encoder={"tp": 2, "dp": 1}, dense={"tp": 2, "dp": 2, "pp": 2})
    parts = [
        (crossing.role.value, crossing.leader, tuple(crossing.peers))
        for rank in range(10)
        for crossing in plan(wider).rank(rank).crossings
    ]
    assert parts == [
        ("member", 1, ()),
        ("sender", 1, (2, 4)),
        ("receiver", 2, (1,)),
        ("member", 2, ()),
        ("receiver", 4, (1,)),
        ("member", 4, ()),
        *[("member", None, ())] * 4,
    ]
    assert not plan(SHARED).rank(0).crossings
