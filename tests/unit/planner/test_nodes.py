"""Which groups cross nodes is counted by strides, and ranks a node are chosen by what crosses."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimodsl.planner.nodes import LARGEST, crossing, node_plan, together
from mimodsl.planner.plan import plan
from mimodsl.planner.ranks import Factorization
from tests.unit.planner.specs import GPT, vlm


def walked(group, per_node):
    """The same count, rank by rank."""
    return sum(len({rank // per_node for rank in members}) > 1 for members in group)


SIZES = st.fixed_dictionaries({name: st.integers(1, 4) for name in ("tp", "cp", "dp", "pp")})


@given(encoder=st.fixed_dictionaries({"tp": st.integers(1, 5), "dp": st.sampled_from((1, 2, 4))}),
       dense=SIZES, per_node=st.integers(1, 40))  # fmt: skip
def test_crossing_groups_are_counted_as_by_walking_the_ranks(encoder, dense, per_node):
    expert = {"etp": 1, "ep": dense["dp"] * dense["cp"], "edp": dense["tp"], "pp": None}
    whole = plan(vlm(encoder=encoder, dense=dense, expert=expert))
    for group in whole.groups():
        assert crossing(group, per_node) == walked(group, per_node), group.name
        for block in group.blocks:
            fewest = (min(Counter(r // per_node for r in members).values()) for members in block)
            assert together(block, per_node) == max(fewest), group.name


def dense(**sizes):
    """A language model's grid behind an encoder of `first` ranks."""
    first = sizes.pop("first", 4)
    return plan(vlm(encoder={"dp": first}, dense={**sizes}, language=GPT))


def test_a_node_takes_as_many_as_it_can_where_nothing_is_lost():
    found = node_plan(dense(tp=4, dp=7), 8)
    assert (found.per_node, found.nodes, found.on_last) == (8, 4, 8)
    assert found.why == "as many as a node takes"


def test_tensor_parallel_groups_are_kept_inside_by_fewer_ranks_a_node():
    found = node_plan(dense(first=3, tp=3, dp=3), 8)
    assert (found.per_node, found.nodes) == (6, 2)
    assert found.why == "not 8: then llm.tp would cross nodes"


def test_expert_parallel_groups_are_kept_inside_too():
    spec = vlm(
        encoder={"dp": 6},
        dense={"tp": 2, "dp": 12},
        expert={"etp": 1, "ep": 6, "edp": 4, "pp": None},
    )
    found = node_plan(plan(spec), 8)
    assert (found.per_node, found.nodes) == (6, 5)
    assert found.why == "not 8: then llm.expert.ep would cross nodes"


def test_nodes_are_filled_evenly_where_it_costs_none():
    found = node_plan(dense(tp=2, dp=4), 8)
    assert (found.per_node, found.nodes, found.on_last) == (6, 2, 6)
    assert found.why == "not 8: the same number of nodes, more evenly filled"


def test_an_uneven_last_node_is_better_than_a_torn_group():
    found = node_plan(dense(tp=4, dp=2), 8)
    assert (found.per_node, found.nodes, found.on_last) == (8, 2, 4)
    assert all(spread.crossing == 0 for spread in found.groups if spread.group.axes == ("tp",))


def test_groups_that_cross_at_any_number_are_named():
    found = node_plan(dense(tp=8, dp=2), 8)
    assert found.per_node == 8
    assert found.why == "as many as a node takes; llm.tp cross nodes at any number"


def test_a_small_world_is_on_one_node_and_nothing_crosses():
    found = node_plan(dense(tp=2, dp=2), 8)
    assert (found.per_node, found.nodes, found.why) == (8, 1, "all ranks on one node")
    assert {spread.crossing for spread in found.groups} == {0}


def test_the_user_has_the_last_word():
    found = node_plan(dense(tp=4, dp=7), 8, per_node=2)
    assert (found.per_node, found.nodes, found.why) == (2, 16, "as asked for")


@pytest.mark.parametrize("number", [0, LARGEST + 1])
def test_impossible_nodes_are_refused(number):
    whole = dense(tp=2, dp=2)
    with pytest.raises(ValueError, match="a node has 1 to 256 ranks"):
        node_plan(whole, number)
    with pytest.raises(ValueError, match="a node has 1 to 256 ranks"):
        node_plan(whole, 8, per_node=number)


def test_a_million_ranks_are_not_walked(monkeypatch):
    def walk(*_):
        raise AssertionError("a rank was asked for")

    spec = vlm(encoder={"tp": 2, "dp": 2**16}, dense={"tp": 8, "dp": 2**12, "pp": 32})
    whole = plan(spec)
    monkeypatch.setattr(Factorization, "coordinates", walk)
    found = node_plan(whole, 8)
    assert (found.per_node, found.nodes) == (8, 2**17 // 8 + 2**20 // 8)
    crossed = {each.group.name: each.crossing for each in found.groups}
    assert crossed["llm.tp"] == 0
    assert crossed["llm.dp"] == 8 * 32
