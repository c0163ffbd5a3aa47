"""The microbatches of a step, before any of them is computed."""

import itertools
from typing import Any

import pytest

from mimodsl.builder.schedule import MicrobatchSchedule
from mimodsl.ir.train import LossPer
from mimodsl.planner.program.samples import batches
from tests.unit.builder.models import HYBRID, spec


def refuse(microbatch: Any) -> None:
    """Take the first of a step alone."""
    if microbatch["number"]:
        raise ValueError("not this one")


def schedule(microbatches: int, check: Any = None) -> MicrobatchSchedule:
    nothing: Any = None
    return MicrobatchSchedule(
        model=nothing,
        communicator=nothing,
        groups={"vision": nothing},
        batches=batches(spec(HYBRID))._replace(microbatches=microbatches),
        loss_per=LossPer.TOKEN.value,
        check=check,
    )


def test_too_few_microbatches_are_refused() -> None:
    with pytest.raises(ValueError, match="a step has 3 microbatches, and was given 2"):
        schedule(3).forward_backward([{}, {}])


def test_every_microbatch_is_checked_and_no_more_than_a_step_taken() -> None:
    endless = ({"number": number} for number in itertools.count())
    with pytest.raises(ValueError, match="not this one"):
        schedule(2, refuse).forward_backward(endless)
    assert next(endless)["number"] == 2
