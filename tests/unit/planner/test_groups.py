"""Which groups there are, what they are called and who is in them."""

import pytest

from mimodsl.ir import Axis, Beside, Flow, Grid, Module, Schedule, ScheduleKind, Spec, View
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.planner.plan import plan
from tests.unit.planner.specs import PIPELINE, RADIO, SHARED, SIDE_BY_SIDE, WIDE, alone, vlm


def groups(spec: Spec) -> dict[str, GroupPlan]:
    return {group.name: group for group in plan(spec).groups()}


def members(spec: Spec, name: str) -> list[list[int]]:
    return [list(group) for group in groups(spec)[name]]


def test_every_grid_has_the_groups_of_both_its_views() -> None:
    base = ["tp", "cp", "dp", "pp", "tp-cp", "tp-pp", "dp-cp", "tp-dp-cp", "tp-cp-dp-pp"]
    expert = ["etp", "ep", "edp", "etp-ep", "etp-ep-pp"]
    names = [group.name for group in plan(SIDE_BY_SIDE).groups()]
    assert names == [
        *(f"encoder.{axes}" for axes in base),
        *(f"encoder.expert.{axes}" for axes in expert),
        *(f"llm.{axes}" for axes in base),
        *(f"llm.expert.{axes}" for axes in expert),
        "vision->language.senders",
        "vision->language.receivers",
        "vision->language.leaders",
    ]


def test_members_along_both_factorizations() -> None:
    assert members(PIPELINE, "llm.pp") == [[4, 6], [5, 7]]
    assert members(PIPELINE, "llm.tp") == [[4, 5], [6, 7]]
    assert members(PIPELINE, "llm.expert.ep") == [[4, 5], [6, 7]]
    assert members(PIPELINE, "llm.expert.etp-ep-pp") == [[4, 5, 6, 7]]
    assert members(SHARED, "llm.expert.edp") == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_expert_groups_of_a_dense_grid_are_implied() -> None:
    found = groups(SIDE_BY_SIDE)
    assert found["encoder.expert.edp"].implied
    assert not found["llm.expert.edp"].implied
    assert members(SIDE_BY_SIDE, "encoder.expert.edp") == members(SIDE_BY_SIDE, "encoder.dp")
    assert members(SIDE_BY_SIDE, "encoder.expert.etp") == members(SIDE_BY_SIDE, "encoder.tp")


def test_embeddings_join_the_ends_of_a_pipeline() -> None:
    assert "llm.embedding" not in groups(SIDE_BY_SIDE)
    assert members(PIPELINE, "llm.embedding") == [[4, 6], [5, 7]]
    deep = groups(alone({"tp": 2, "pp": 4}))["llm.embedding"]
    assert [list(group) for group in deep] == [[0, 6], [1, 7], [2], [4], [3], [5]]
    assert (deep.count, deep.size) == (6, 2)
    assert [list(deep.of(rank) or ()) for rank in (6, 3, 9)] == [[0, 6], [3], []]


def test_leaders_are_one_group() -> None:
    leaders = groups(SIDE_BY_SIDE)["vision->language.leaders"]
    assert (leaders.count, leaders.size, leaders.joined) == (1, 4, True)
    assert members(SIDE_BY_SIDE, "vision->language.leaders") == [[1, 3, 4, 6]]
    assert [list(leaders.of(rank) or ()) for rank in (0, 1, 6)] == [[], [1, 3, 4, 6], [1, 3, 4, 6]]


def test_leaders_ascend_where_the_language_model_comes_first() -> None:
    spec = vlm(encoder={"tp": 2, "dp": 2}, dense={"tp": 2, "dp": 2}, language_first=True)
    assert members(spec, "vision->language.leaders") == [[0, 2, 5, 7]]


def test_bridges_on_the_same_ranks_gather() -> None:
    assert members(SHARED, "vision->language.gather") == [[0, 1], [2, 3], [4, 5], [6, 7]]
    fan_out = vlm(encoder={"tp": 4, "dp": 1}, dense={"tp": 2, "dp": 2}, colocated=True)
    assert members(fan_out, "vision->language.gather") == [[0, 2], [1, 3]]
    equal = vlm(encoder={"tp": 2, "dp": 2}, dense={"tp": 2, "dp": 2}, colocated=True)
    assert not [group for group in plan(equal).groups() if group.kind is not GroupKind.AXES]


def test_two_flows_share_the_groups_of_the_language_model() -> None:
    spec = vlm(encoder={"tp": 2, "dp": 2}, dense={"tp": 2, "dp": 2})
    audio = Module(name="audio", grid="more", kind=RADIO)
    both = Spec(
        grids=(*spec.grids, Grid(name="more", views={"dense": {"dp": 4}})),
        place=Beside(parts=("encoder", "llm", "more")),
        modules=(*spec.modules, audio),
        flows=(*spec.flows, Flow(path=("audio", "language"), token=510)),
        schedule=spec.schedule,
    )
    names = [group.name for group in plan(both).groups() if "->" in group.name]
    assert names == [
        "vision->language.senders",
        "vision->language.receivers",
        "vision->language.leaders",
        "audio->language.senders",
        "audio->language.leaders",
    ]


def test_a_view_of_the_users_own_has_a_group_along_each_axis() -> None:
    halves = View(
        name="halves",
        axes=(Axis(name="near", size=2), Axis(name="far", size=4), Axis(name="pp")),
    )
    grid = Grid(name="llm", views=(View(name="dense", axes={"tp": 2, "dp": 4, "pp": 2}), halves))
    spec = Spec(
        grids=(grid,),
        modules=alone({"tp": 2}).modules,
        schedule=Schedule(kind=ScheduleKind.ONE_F_ONE_B, sequence=8),
    )
    found = groups(spec)
    assert "llm.halves.pp" not in found
    assert [list(group) for group in found["llm.halves.far"]][:2] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert found["llm.halves.near"].count == 8


def test_a_view_that_covers_other_ranks_is_refused() -> None:
    spec = vlm(encoder={"dp": 2}, dense={"dp": 8}, expert={"ep": 3, "edp": 2})
    with pytest.raises(ValueError, match="view expert of grid llm covers 6 ranks, not 8"):
        plan(spec)


def test_a_wide_world_is_planned_without_listing_it() -> None:
    found = groups(WIDE)
    assert found["llm.pp"].count == 8 * 2**16
    assert found["llm.expert.edp"].size == 2**13
    own = found["llm.dp"].of(2**18 + 8 * 5 + 3)
    assert own is not None
    assert (len(own), own.start, own.last) == (2**16, 2**18 + 3, 2**18 + 3 + 8 * (2**16 - 1))
