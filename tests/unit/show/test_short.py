"""Ranks, groups and passes in few characters."""

import pytest

from mimodsl.planner.ranks import Factor, Ranks
from mimodsl.planner.schedule import StageSchedule
from mimodsl.show import short


def test_a_long_order_of_passes_keeps_its_end():
    schedule = StageSchedule(stage=0, stages=2, microbatches=100)
    assert short.passes(schedule, 8) == "F0 F1 B0 F2 B1 … B98 B99"
    assert short.passes(StageSchedule(stage=1, stages=2, microbatches=2), 16) == "F0 B0 F1 B1"


@pytest.mark.parametrize(
    ("size", "stride", "width", "text"),
    [
        (4, 1, 80, "4–7"),
        (2, 1, 80, "4 5"),
        (3, 2, 80, "4 6 8"),
        (100, 2, 12, "4 … 202"),
        (100, 2, 20, "4 6 8 … 202"),
    ],
)
def test_members_are_a_span_or_a_list_that_fits(size, stride, width, text):
    assert short.members(Ranks(start=4, factors=(Factor(size, stride),)), width) == text


def test_names_after_the_first_are_without_their_grid():
    assert short.names(["llm.dp", "llm.expert.edp", "vision.dp"], "llm").plain == (
        "llm.dp expert.edp vision.dp"
    )


@pytest.mark.parametrize(
    ("numbers", "text"), [(range(4, 8), "4–7"), (range(4, 5), "4"), (range(0), "–")]
)
def test_a_span_of_numbers(numbers, text):
    assert short.span(numbers) == text


def test_one_and_many():
    assert short.plural(1, "rank") == "1 rank"
    assert short.plural(4096, "branch", "es") == "4,096 branches"
