"""The checker against megatron-core: what it accepts is built, what it rejects is refused.

`make fuzz` asks for more specs, from a seed of its own: `MIMODSL_SPECS` and `MIMODSL_SEED`.
"""

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import batched

import pytest
import torch

from mimodsl.checker.rules import RULES
from mimodsl.megatron import meta_device
from mimodsl.runtime.library_output import silence_warnings
from tests.differential.laws import (
    OUT_OF_REACH,
    RAISING,
    REFUSED_FIRST,
    Case,
    Tally,
    seeds_of,
    spec_of,
    tally,
)
from tests.differential.minimise import minimised

SPECS = int(os.environ.get("MIMODSL_SPECS", "2000"))
SEED = int(os.environ.get("MIMODSL_SEED", "0"))
WORKERS = 2
BATCH = 50
SHOWN = 5
FAR = 20_000
"""How many more seeds are searched for a rule that no spec broke."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that take the meta device for CUDA; this one stays as it is."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawn, initializer=_settle) as pool:
        yield pool


def _settle() -> None:
    silence_warnings()
    torch.set_num_threads(1)
    meta_device.activate()


def test_checker_and_megatron_agree(
    pool: ProcessPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = range(SEED, SEED + SPECS)
    total = _tally(pool, seeds)
    total += _tally(pool, seeds_of(total.unhit, range(seeds.stop, seeds.stop + FAR)))
    with capsys.disabled():
        print(f"\nseeds from {SEED}, {total}")
    assert not total.disagreements, _shown(pool, total.disagreements)
    assert not total.unhit, "rules that no spec broke on its own"


def _tally(pool: ProcessPoolExecutor, seeds: Iterable[int]) -> Tally:
    return sum(pool.map(tally, batched(seeds, BATCH)), Tally())


def _shown(pool: ProcessPoolExecutor, disagreements: tuple[Case, ...]) -> str:
    """The smallest specs that show a disagreement, each kind once."""
    kinds: list[Case] = []
    for case in disagreements:
        if not any(case.is_like(one) for one in kinds):
            kinds.append(case)
    smallest = pool.map(minimised, kinds[:SHOWN])
    return f"{len(disagreements)} of {len(kinds)} kinds\n" + "\n".join(
        f"\nseed {case.seed}: {case.disagreement}\n{case.spec}" for case in smallest
    )


def test_exceptions_are_rules_that_say_they_raise() -> None:
    assert {rule.code for rule in RULES} >= RAISING >= OUT_OF_REACH.keys() | REFUSED_FIRST.keys()
    assert all({**OUT_OF_REACH, **REFUSED_FIRST}.values())


def test_a_seed_is_one_spec() -> None:
    assert [spec_of(seed) for seed in range(20)] == [spec_of(seed) for seed in range(20)]
