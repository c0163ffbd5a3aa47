"""Seeds of a module's weights on ranks of different coordinates."""

from collections.abc import Iterator

import pytest
import torch
from attrs import evolve, frozen
from megatron.core.tensor_parallel.random import (
    get_cuda_rng_tracker,
    get_expert_parallel_rng_tracker_name,
)

from mimodsl.builder.model import seed_module
from mimodsl.megatron.cpu import backend


@frozen
class At:
    """A rank's place in a group."""

    index: int

    def rank(self) -> int:
        return self.index


@frozen
class Place:
    """The groups that seeding reads, as one rank sees them."""

    tp: At = At(0)
    pp: At = At(0)
    ep: At | None = At(0)
    expt_tp: At | None = At(0)


ORIGIN = Place()


@pytest.fixture(autouse=True)
def on_cpu() -> Iterator[None]:
    with backend.activate():
        yield


def _draws(place: Place, module: str = "language", seed: int = 1) -> dict[str, float]:
    """The first number that each generator of a freshly seeded rank gives."""
    seed_module(seed, module, place)
    draws = {"replicated": torch.rand(1).item()}
    for kind, forked in (
        ("split", get_cuda_rng_tracker().fork()),
        ("experts", get_cuda_rng_tracker().fork(get_expert_parallel_rng_tracker_name())),
    ):
        with forked:
            draws[kind] = torch.rand(1).item()
    return draws


@pytest.mark.parametrize(
    ("place", "differing"),
    [
        (ORIGIN, set()),
        (evolve(ORIGIN, tp=At(1)), {"split"}),
        (evolve(ORIGIN, ep=At(1)), {"experts"}),
        (evolve(ORIGIN, expt_tp=At(1)), {"experts"}),
        (evolve(ORIGIN, pp=At(1)), {"replicated", "split", "experts"}),
        (evolve(ORIGIN, ep=None, expt_tp=None), set()),
    ],
)
def test_ranks_that_hold_different_weights_draw_apart(place: Place, differing: set[str]) -> None:
    here, there = _draws(ORIGIN), _draws(place)
    assert {kind for kind in here if here[kind] != there[kind]} == differing


def test_modules_and_seeds_draw_apart() -> None:
    language = _draws(ORIGIN)
    for other in (_draws(ORIGIN, module="vision"), _draws(ORIGIN, seed=2)):
        assert not set(language.values()) & set(other.values())
