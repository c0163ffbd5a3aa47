"""The microbatches of a step, before any of them is computed."""

import itertools
from typing import Any

import pytest
from attrs import evolve

from mimodsl.builder.schedule import MicrobatchSchedule
from mimodsl.ir.train import LossPer
from tests.unit.builder.models import HYBRID, spec


class Refusing:
    """A bridge that takes the first of a step alone."""

    encoder = "vision"

    def check(self, microbatch: Any, *, encodes: bool) -> None:
        assert encodes
        if microbatch["number"]:
            raise ValueError("not this one")


def schedule(microbatches: int, *bridges: Any) -> MicrobatchSchedule:
    nothing: Any = None
    return MicrobatchSchedule(
        model=nothing,
        communicator=nothing,
        groups={"vision": nothing},
        schedule=evolve(spec(HYBRID).schedule, microbatches=microbatches),
        loss_per=LossPer.TOKEN,
        bridges=bridges,
    )


def test_too_few_microbatches_are_refused() -> None:
    with pytest.raises(ValueError, match="a step has 3 microbatches, and was given 2"):
        schedule(3).forward_backward([{}, {}])


def test_every_microbatch_is_checked_and_no_more_than_a_step_taken() -> None:
    endless = ({"number": number} for number in itertools.count())
    with pytest.raises(ValueError, match="not this one"):
        schedule(2, Refusing()).forward_backward(endless)
    assert next(endless)["number"] == 2
