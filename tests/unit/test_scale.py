"""What is asked of a million ranks takes the work and the memory that it takes of eight."""

import json
from collections import deque
from collections.abc import Callable
from io import StringIO
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console

import mimodsl
from mimodsl.api import check
from mimodsl.ir import Spec
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.time import ACCELERATORS, least_time
from mimodsl.show.plan import document, show
from mimodsl.show.plan import time as plan_time
from mimodsl.show.plan.group_table import group_rows, row_count
from tests.work import peak, steps

RANKS = 1_048_576
MOST = 1.5
"""Times the work of few ranks: numbers are longer, and pictures as wide as the screen."""

BESIDE = """\
use "presets/nemotron.mimo"
let stages = "MEMEM*EMEMEM*EMEMEM*EMEMEM|*EMEMEM*EMEMEMEM*EMEMEMEME"

grid encoder {{
  dense = tp:{tp} * dp:{encoders}
}}

grid llm {{
  dense  = tp:4 * dp:{replicas} * pp:2
  expert = ep:{ep} * edp:{edp} * pp
}}

place encoder | llm

module vision : radio_h {{
  grid = encoder
}}

module projector : mlp_projector {{
  grid = encoder
}}

module language : nemotron_3_nano {{
  grid    = llm
  pattern = stages
}}

flow vision -> projector -> language {{
  token = 511
}}

schedule 1f1b {{
  sequence     = 8192
  micro_batch  = {micro_batch}
  microbatches = {microbatches}
}}
"""

ALONE = """\
grid all {{
  dense  = tp:2 * dp:{replicas}
  expert = ep:{ep} * edp:{edp} * pp
}}

module language : gpt {{
  layers     = 2
  hidden     = 64
  vocabulary = 256
  attention  = {{ heads = 4 }}
  moe        = {{ experts = {ep}, topk = 2, ffn = 128 }}
}}

schedule 1f1b {{
  sequence     = 32
  microbatches = {microbatches}
}}
"""


def beside(encoders: int = 2, replicas: int = 2, microbatches: int = 8, **sizes: int) -> str:
    ep = sizes.get("ep", 4)
    return BESIDE.format(
        tp=sizes.get("tp", 2),
        encoders=encoders,
        replicas=replicas,
        ep=ep,
        edp=4 * replicas // ep,
        micro_batch=max(1, encoders // replicas),
        microbatches=microbatches,
    )


def alone(replicas: int = 4, ep: int = 4, microbatches: int = 8) -> str:
    return ALONE.format(
        replicas=replicas,
        ep=ep,
        edp=2 * replicas // ep,
        microbatches=microbatches,
    )


GROWN = {
    "a million ranks beside each other": (beside(), beside(RANKS // 8, RANKS // 8)),
    "experts on very many ranks": (beside(), beside(RANKS // 8, RANKS // 8, ep=128)),
    "fan-in from very many replicas": (beside(4, 2), beside(RANKS // 2, 2)),
    "fan-out to very many replicas": (beside(1, 2), beside(1, RANKS // 8)),
    "a million microbatches": (beside(), beside(microbatches=1_000_000)),
    "a million experts": (alone(), alone(RANKS // 2, RANKS)),
}


def everything(spec: Spec) -> None:
    """All that `check` and `plan` say, of the world and of a rank, for eyes and for programs."""
    assert check(spec) == ()
    planned = plan(spec)
    for rank in (None, 3):
        show(planned, Console(file=StringIO(), width=100), rank)
        json.dumps(document(planned, rank))
    json.dumps(plan_time.document(least_time(planned, ACCELERATORS["h100"])))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Spec]:
    """The spec of a text."""
    path = tmp_path / "spec.mimo"

    def loaded(text: str) -> Spec:
        path.write_text(text)
        return mimodsl.load(path)

    return loaded


@pytest.mark.parametrize("grown", GROWN)
def test_work_does_not_grow(grown: str, load: Callable[[str], Spec]) -> None:
    few, many = map(load, GROWN[grown])
    everything(few)  # what is imported and worked out once
    steps(lambda: everything(many), most=MOST * steps(lambda: everything(few)))


def test_memory_does_not_grow(load: Callable[[str], Spec]) -> None:
    few, many = map(load, GROWN["a million ranks beside each other"])
    everything(few)
    assert peak(lambda: everything(many)) <= MOST * peak(lambda: everything(few))


def test_a_table_of_groups_takes_some_steps_a_row_and_the_memory_of_few(
    load: Callable[[str], Spec],
) -> None:
    few, many = (plan(load(beside(size, size))) for size in (512, 4 * 512))
    assert row_count(many) == 4 * row_count(few)

    def each(planned: Plan) -> float:
        return steps(lambda: deque(group_rows(planned), maxlen=0)) / row_count(planned)

    assert each(many) <= each(few) < 5
    assert peak(lambda: deque(group_rows(many), maxlen=0)) < 2_000_000


def test_a_table_of_a_million_ranks_has_as_many_rows_as_ranks_in_groups(
    load: Callable[[str], Spec],
) -> None:
    planned = plan(load(alone(RANKS // 2, ep=8)))
    names = list(planned.groups())
    assert row_count(planned) == len(names) * RANKS
    first, second = islice(group_rows(planned), 2)
    assert (first, second[:14]) == ("name,index,position,rank\n", "all.tp,0,0,0\na")


def test_steps_beyond_a_bound_are_told_where_they_are_taken() -> None:
    with pytest.raises(AssertionError, match="more than 1,000 steps"):
        steps(lambda: [str(number) for number in range(2_000)], most=1_000)
