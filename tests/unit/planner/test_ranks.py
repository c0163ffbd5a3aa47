"""Rank algebra on spans whose answers are known by hand."""

import pytest

from mimodsl.planner.ranks import Factor, Factorization, Groups, Ranks, Union

LAYOUT = Factorization(start=4, axes=(("tp", 2), ("dp", 3), ("pp", 2)))


def test_the_first_axis_varies_fastest() -> None:
    assert LAYOUT.coordinates(4) == {"tp": 0, "dp": 0, "pp": 0}
    assert LAYOUT.coordinates(5) == {"tp": 1, "dp": 0, "pp": 0}
    assert LAYOUT.coordinates(6) == {"tp": 0, "dp": 1, "pp": 0}
    assert LAYOUT.coordinates(15) == {"tp": 1, "dp": 2, "pp": 1}


def test_axes_that_are_left_out_are_at_0() -> None:
    assert LAYOUT.rank({"pp": 1, "tp": 1}) == 4 + 6 + 1
    assert LAYOUT.rank({}) == 4


@pytest.mark.parametrize("rank", [-1, 3, 16])
def test_ranks_outside_have_no_coordinates(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank {rank} is not in 4..15"):
        LAYOUT.coordinates(rank)
    assert LAYOUT.groups(("dp",)).of(rank) is None


def test_groups_along_axes() -> None:
    groups = LAYOUT.groups(("dp",))
    assert [list(group) for group in groups] == [[4, 6, 8], [5, 7, 9], [10, 12, 14], [11, 13, 15]]
    assert (groups.size, len(groups)) == (3, 4)
    assert list(groups.of(13) or ()) == [11, 13, 15]


def test_groups_at_fixed_coordinates() -> None:
    last_stage = LAYOUT.groups(("tp",), at={"pp": 1})
    assert [list(group) for group in last_stage] == [[10, 11], [12, 13], [14, 15]]
    assert last_stage.of(4) is None


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="no axis ep among tp, dp, pp"):
        LAYOUT.groups(("tp", "ep"))
    with pytest.raises(ValueError, match="no axis cp"):
        LAYOUT.groups(("tp",), at={"cp": 0})


def test_a_line_of_ranks() -> None:
    assert LAYOUT.line("dp", {"tp": 1, "pp": 1}) == range(11, 17, 2)
    (line,) = LAYOUT.groups(("dp",), at={"tp": 1, "pp": 1})
    assert list(line) == [11, 13, 15]
    assert (line.start, line.last, len(line), line[1]) == (11, 15, 3, 13)
    assert (line.position(13), line.position(12), line.position(17)) == (1, None, None)
    assert 13 in line
    assert 14 not in line


def test_positions_beyond_the_end_are_refused() -> None:
    with pytest.raises(IndexError):
        LAYOUT.groups(("dp",))[0][3]
    with pytest.raises(IndexError):
        LAYOUT.groups(("dp",))[4]


def test_positions_follow_the_order_of_factors_not_of_strides() -> None:
    ranks = Ranks(start=0, factors=(Factor(2, 4), Factor(2, 1)))
    assert list(ranks) == [0, 4, 1, 5]
    assert [ranks.position(rank) for rank in ranks] == [0, 1, 2, 3]


def test_a_union_is_its_parts_in_order() -> None:
    union = Union((Ranks(start=1, factors=(Factor(2, 2),)), Ranks(start=8, factors=())))
    assert list(union) == [1, 3, 8]
    assert (len(union), union.start, union.last) == (3, 1, 8)
    assert 3 in union
    assert 2 not in union


def test_the_same_groups_have_one_canonical_form() -> None:
    by_axes = LAYOUT.groups(("tp", "dp"))
    by_hand = Groups(start=4, inner=(Factor(6, 1),), outer=(Factor(2, 6),))
    assert by_axes != by_hand
    assert by_axes.partition == by_hand.partition
    assert LAYOUT.groups(("tp",)).partition != LAYOUT.groups(("dp",)).partition


def test_nothing_walks_over_the_world() -> None:
    size = 2**60
    layout = Factorization(start=7, axes=(("tp", 8), ("dp", size), ("pp", 16)))
    rank = layout.rank({"tp": 3, "dp": size - 1, "pp": 9})
    groups = layout.groups(("dp", "tp"))
    found = groups.of(rank)
    assert layout.coordinates(rank) == {"tp": 3, "dp": size - 1, "pp": 9}
    assert found is not None
    assert (found.start, found.last - found.start + 1) == (7 + 9 * 8 * size, 8 * size)
    assert found.position(rank) == 8 * (size - 1) + 3
