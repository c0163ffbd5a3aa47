"""Which names of groups share communicators, and which never do."""

from inspect import signature
from pathlib import Path

import attrs
import pytest

import mimodsl
from mimodsl.ir import Axis, Ddp, Grid, Spec, Train, View
from mimodsl.planner.groups import BASE_AXIS_SETS, EXPERT_AXIS_SETS
from mimodsl.planner.plan import plan
from mimodsl.planner.sharing import APART, SHARE, TRAFFIC, Traffic, communicators, most, traffic
from tests.unit.planner.specs import HYBRID, PIPELINE, SHARED, SIDE_BY_SIDE, WIDE, alone, vlm

SPECS = Path(mimodsl.__file__).parents[1] / "specs"
OVERLAPPED = Train(ddp=Ddp(overlap_grad_reduce=True))


def names(spec: Spec, rank: int) -> list[set[str]]:
    every = communicators(plan(spec))
    return [set(one.carries(rank)) for one in every if one.of(rank) is not None]


def together(spec: Spec, *wanted: str) -> bool:
    """Whether some names share a communicator on a rank that has one for the first of them."""
    every = plan(spec)
    members = next(iter(next(group for group in every.groups() if group.name == wanted[0])))
    return any(set(wanted) <= one for one in names(spec, members.start))


@pytest.mark.parametrize(
    ("spec", "before", "after"),
    [
        ("gpt_moe", 14, 6),
        ("gpt_moe_vlm", 29, 6),
        ("nemotron_20l", 16, 6),
        ("nemotron_3_nano_vlm", 17, 11),
        ("nemotron_3_nano_vlm_colocated", 29, 9),
        ("nemotron_vlm", 16, 5),
        ("nemotron_vlm_colocated", 29, 4),
        ("nemotron_vlm_pp", 17, 5),
    ],
)
def test_communicators_of_the_shipped_specs(spec: str, before: int, after: int) -> None:
    """On the rank with the most, the world's own left out. Real ranks are held to the same list:
    `tests/e2e/worlds.assert_as_planned`."""
    planned = plan(mimodsl.load(SPECS / f"{spec}.mimo"))
    assert (most(planned, share=False), most(planned)) == (before, after)


def test_the_rank_with_the_most_is_found_without_counting_through_the_world() -> None:
    for spec in (SIDE_BY_SIDE, SHARED, PIPELINE, alone({"tp": 2, "pp": 3})):
        planned = plan(spec)
        for share in (True, False):
            every = communicators(planned, share=share)
            counts = (sum(one.of(rank) is not None for one in every) for rank in range(spec.world))
            assert most(planned, share=share) == max(counts)
    assert (most(plan(WIDE), share=False), most(plan(WIDE))) == (17, 12)


def test_names_of_the_same_ranks_share() -> None:
    assert names(SIDE_BY_SIDE, 4) == [
        {
            *("llm.tp", "llm.tp-cp", "llm.tp-pp", "vision->language.receivers"),
            *("llm.expert.ep", "llm.expert.etp-ep", "llm.expert.etp-ep-pp"),
        },
        {"llm.cp", "llm.pp", "llm.expert.etp"},
        {"llm.dp", "llm.dp-cp", "llm.expert.edp"},
        {"llm.tp-dp-cp", "llm.tp-cp-dp-pp"},
        {"vision->language.leaders"},
    ]


def test_grids_on_the_same_ranks_share() -> None:
    assert together(SHARED, "llm.tp", "llm.expert.ep", "vision->language.gather")
    assert together(SHARED, "encoder.dp-cp", "encoder.tp-cp-dp-pp", "llm.tp-cp-dp-pp")


def test_a_rank_has_one_communicator_with_itself_alone() -> None:
    for spec in (SIDE_BY_SIDE, SHARED, PIPELINE, alone({"dp": 1})):
        for share_apart in (spec, attrs.evolve(spec, train=OVERLAPPED)):
            every = communicators(plan(share_apart))
            for rank in range(spec.world):
                alone_there = [
                    one for one in every if one.of(rank) is not None and one.made.size == 1
                ]
                assert len(alone_there) <= 1


def test_reductions_during_passes_have_communicators_of_their_own() -> None:
    spec = vlm(encoder={"dp": 2}, dense={"dp": 4}, expert={"ep": 4, "edp": 1})
    assert together(spec, "llm.dp-cp", "llm.expert.ep", "llm.tp-dp-cp")
    overlapped = attrs.evolve(spec, train=OVERLAPPED)
    assert not together(overlapped, "llm.dp-cp", "llm.expert.ep")
    assert not together(overlapped, "llm.dp-cp", "llm.tp-dp-cp")
    assert together(overlapped, "llm.dp-cp", "llm.dp")
    gathered = attrs.evolve(spec, train=Train(ddp=Ddp(overlap_param_gather=True)))
    assert names(gathered, 3) == names(overlapped, 3)


def test_experts_and_dense_weights_reduce_apart_during_passes() -> None:
    assert together(SIDE_BY_SIDE, "llm.dp-cp", "llm.expert.edp")
    overlapped = attrs.evolve(SIDE_BY_SIDE, train=OVERLAPPED)
    assert not together(overlapped, "llm.dp-cp", "llm.expert.edp")


def test_tokens_travel_apart_from_a_shared_expert_that_overlaps() -> None:
    assert together(SIDE_BY_SIDE, "llm.tp", "llm.expert.ep")
    assert HYBRID.moe is not None
    moe = attrs.evolve(HYBRID.moe, shared_ffn=64, shared_overlap=True)
    spec = attrs.evolve(
        SIDE_BY_SIDE,
        modules=(
            *SIDE_BY_SIDE.modules[:-1],
            attrs.evolve(SIDE_BY_SIDE.language, kind=attrs.evolve(HYBRID, moe=moe)),
        ),
    )
    assert not together(spec, "llm.tp", "llm.expert.ep")
    assert together(spec, "llm.expert.ep", "llm.expert.etp-ep")


def test_a_view_of_the_users_own_shares_with_itself_alone() -> None:
    racks = View(name="racks", axes=(Axis(name="rack", size=4), Axis(name="pp")))
    base = View(name="dense", axes=(Axis(name="tp", size=4), Axis(name="pp", size=2)))
    spec = attrs.evolve(alone({"tp": 4, "pp": 2}), grids=(Grid(name="llm", views=(base, racks)),))
    assert {"llm.racks.rack"} in names(spec, 0)


def test_embeddings_share_with_stages_of_the_same_ranks() -> None:
    """Of two stages; of more, the last and the first are not neighbours."""
    assert together(PIPELINE, "llm.pp", "llm.embedding")
    deep = alone({"tp": 2, "pp": 4})
    assert names(deep, 0)[-1] == {"llm.embedding"}
    assert {"llm.embedding"} < next(one for one in names(deep, 2) if "llm.cp" in one)


def test_every_name_has_a_kind_of_traffic_and_every_kind_a_word() -> None:
    (views,) = (grid.views for grid in plan(SIDE_BY_SIDE).grids[1:])
    assert [view.name for view in views] == ["base", "expert"]
    kinds = {
        (group.view, group.axes): traffic(group)
        for group in plan(SIDE_BY_SIDE).groups()
        if group.grid == "llm"
    }
    for view, sets in (("base", BASE_AXIS_SETS), ("expert", EXPERT_AXIS_SETS)):
        assert Traffic.OWN not in {kinds[view, axes] for axes in sets}
    assert TRAFFIC.keys() == set(Traffic)
    assert all(one.why for one in APART)


def test_python_users_share_unless_they_say_otherwise() -> None:
    assert signature(mimodsl.build).parameters["share_groups"].default is SHARE


def test_without_sharing_every_name_has_its_own() -> None:
    planned = plan(PIPELINE)
    every = communicators(planned, share=False)
    assert sum(one.count for one in every) == sum(group.count for group in planned.groups())
    assert all(len(one.names) == 1 for one in every)
