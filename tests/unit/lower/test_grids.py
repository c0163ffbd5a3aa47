"""Grids: sizes, shared axes, and `_`."""

import pytest

from mimodsl.ir import Axis, Grid, View
from tests.unit.lower.texts import SCHEDULE, codes_and_places, only_mistake, spec_of, text_at


def grid(body: str) -> Grid:
    (found,) = spec_of(f"grid g {{\n{body}\n}}\n{SCHEDULE}").grids
    return found


def refused(body: str) -> list[tuple[str, str]]:
    return codes_and_places(f"grid g {{\n{body}\n}}\n{SCHEDULE}")


def test_a_grid_is_what_it_says() -> None:
    assert grid("dense = tp:2 * dp:3\nexpert = ep:6 * pp") == Grid(
        name="g",
        views=(
            View(name="dense", axes=(Axis(name="tp", size=2), Axis(name="dp", size=3))),
            View(name="expert", axes=(Axis(name="ep", size=6), Axis(name="pp"))),
        ),
    )


def test_a_blank_takes_what_the_ranks_leave() -> None:
    found = grid("ranks = 16\ndense = tp:2 * dp:_ * pp:2\nexpert = ep:2 * edp:_ * pp")
    assert found.size("dp") == 4
    assert found.size("edp") == 4
    assert found.ranks == 16


def test_in_a_later_view_the_base_view_says_how_many_ranks() -> None:
    assert grid("dense = tp:2 * dp:4 * pp:2\nexpert = etp:2 * ep:2 * edp:_ * pp").size("edp") == 2


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ("dense = tp:2 * dp:_", "dp:_", "the number of ranks to fill is unknown"),
        ("ranks = 8\ndense = tp:_ * dp:_", "dp:_", "a view can have only one `_`"),
        (
            f"dense = tp:{2**62} * dp:{2**62}\nexpert = ep:_",
            "ep:_",
            "the size that fills the view does not fit into 64 bits",
        ),
        (
            "ranks = 8\ndense = tp:3 * dp:_",
            "dp:_",
            "the other axes cover 3 ranks, which do not divide 8",
        ),
        (
            "dense = tp:2 * dp:3 * pp:2\nexpert = ep:4 * edp:_ * pp",
            "edp:_",
            "the other axes cover 8 ranks, which do not divide 12",
        ),
    ],
)
def test_a_blank_that_cannot_be_filled(body: str, place: str, message: str) -> None:
    one = only_mistake(f"grid g {{\n{body}\n}}\n{SCHEDULE}")
    assert (one.code, text_at(one.primary), one.message) == ("MIMO209", place, message)


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        ("dense = tp:0", "MIMO203", "0"),
        ("dense = tp:(1 - 2)", "MIMO203", "(1 - 2)"),
        ("dense = tp:(2.5)", "MIMO202", "(2.5)"),
        ("dense = tp:x", "MIMO102", "x"),
        ("dense = tp:true", "MIMO202", "true"),
        ("ranks = 0\ndense = tp:1", "MIMO203", "0"),
        ("ranks = 1\nranks = 1\ndense = tp:1", "MIMO205", "ranks = 1"),
        ("dense = tp:2 * tp:2", "MIMO205", "tp"),
        ("dense = tp:2\ndense = tp:2", "MIMO205", "dense"),
        ("ranks = 2", "MIMO210", "g"),
        ("", "MIMO210", "g"),
    ],
)
def test_a_grid_that_is_refused(body: str, code: str, place: str) -> None:
    assert refused(body) == [(code, place)]


@pytest.mark.parametrize(("value", "words"), [("0", "`number` is 0"), ('"2"', ""), ("true", "")])
def test_a_wrong_size_shows_where_the_constant_was_set(value: str, words: str) -> None:
    one = only_mistake(f"let number = {value}\ngrid g {{\n  dense = tp:number\n}}\n{SCHEDULE}")
    assert [(text_at(label), label.text) for label in one.secondary] == [(value, words)]


def test_every_size_is_judged() -> None:
    assert refused("dense = tp:0 * dp:x\nexpert = ep:0") == [
        ("MIMO203", "0"),
        ("MIMO102", "x"),
        ("MIMO203", "0"),
    ]


def test_placements_keep_their_shape() -> None:
    grids = "".join(f"grid {name} {{\n  dense = tp:1\n}}\n" for name in "abcd")
    spec = spec_of(f"{grids}place (a | b) & c | d\n{SCHEDULE}")
    assert str(spec.place) == "(a | b) & c | d"
    assert spec.place == spec_of(f"{grids}place ((a | b) & (c)) | d\n{SCHEDULE}").place
