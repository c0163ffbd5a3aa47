"""Synthetic samples: the same in every layout, and lined up between encoder and language model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

import mimodsl
from mimodsl.ir import Spec
from mimodsl.megatron.cpu import backend
from mimodsl.runtime.data import SyntheticData, microbatches

SPECS = Path(__file__).parents[3] / "specs"
NON_COLOCATED = mimodsl.load(SPECS / "nemotron_vlm.mimo")
COLOCATED = mimodsl.load(SPECS / "nemotron_vlm_colocated.mimo")
TOKEN = 511


@attrs.frozen
class Slice:
    """A data-parallel group as one of its ranks sees it, and a collection with nothing else."""

    at: int
    of: int

    @property
    def dp(self) -> "Slice":
        return self

    def rank(self) -> int:
        return self.at

    def size(self) -> int:
        return self.of


@pytest.fixture(autouse=True)
def on_cpu() -> Iterator[None]:
    with backend.activate():
        yield


def _deal(spec: Spec, module: str, grid: str, step: int = 0) -> list[list[dict[str, Any]]]:
    """The microbatches of each data-parallel rank of one module, on ranks that run it alone."""
    data = SyntheticData(spec=spec)
    size = spec.grid(grid).size("dp")
    return [list(microbatches(data, step, {module: Slice(at, size)})) for at in range(size)]


def _global_batch(ranks: list[list[dict[str, Any]]], pick: str) -> torch.Tensor:
    """What the ranks hold together, in the order of the global batch."""

    def held(microbatch: dict[str, Any]) -> torch.Tensor:
        if pick == "images":
            return microbatch["modality_inputs"]["vision"]["vision"]["x"]
        return microbatch[pick]

    return torch.cat([held(part) for parts in zip(*ranks, strict=True) for part in parts])


def test_layouts_see_the_same_global_batch() -> None:
    for module, grid, picks in (
        ("language", "llm", ("input_ids", "labels", "loss_mask")),
        ("vision", "encoder", ("input_ids", "images")),
    ):
        beside, together = (_deal(spec, module, grid) for spec in (NON_COLOCATED, COLOCATED))
        for pick in picks:
            assert torch.equal(_global_batch(beside, pick), _global_batch(together, pick))


def test_a_colocated_rank_reads_text_and_images_by_their_own_grids() -> None:
    data = SyntheticData(spec=COLOCATED)
    groups = {"vision": Slice(5, 8), "language": Slice(2, 4)}
    (microbatch,) = microbatches(data, 0, groups)
    assert torch.equal(microbatch["input_ids"][1], data.tokens(0, 5)[:-1])
    images = microbatch["modality_inputs"]["vision"]["vision"]["x"]
    assert torch.equal(images, data.images(COLOCATED.flows[0], 0, 5))


def test_placeholders_fit_the_images_and_bear_no_loss() -> None:
    (parts, *_) = _deal(NON_COLOCATED, "language", "llm")
    for part in parts:
        assert ((part["input_ids"] == TOKEN).sum(1) == 4).all()
        assert part["loss_mask"][0].tolist() == [0.0] * 3 + [1.0] * 61
        assert not (part["labels"] == TOKEN).any()
        assert torch.equal(part["labels"][:, 3:-1], part["input_ids"][:, 4:])


def test_what_an_image_shows_decides_the_text() -> None:
    data = SyntheticData(spec=NON_COLOCATED)
    flow = NON_COLOCATED.flows[0]
    seen: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for index in range(32):
        seen.setdefault(tuple(data.tokens(0, index).tolist()), []).append(
            data.images(flow, 0, index)
        )
    assert len(seen) == 4
    for images in seen.values():
        assert all((image - images[0]).std() < 0.2 for image in images)
    first, second, *_ = (images[0] for images in seen.values())
    assert (first - second).std() > 1


def test_steps_and_seeds_differ() -> None:
    other = attrs.evolve(NON_COLOCATED, train=attrs.evolve(NON_COLOCATED.train, seed=1))
    first = _global_batch(_deal(NON_COLOCATED, "language", "llm"), "input_ids")
    for spec, step in ((NON_COLOCATED, 1), (other, 0)):
        batch = _global_batch(_deal(spec, "language", "llm", step), "input_ids")
        assert not torch.equal(first, batch)


def test_a_batch_that_cannot_be_dealt_is_refused() -> None:
    with pytest.raises(ValueError, match="8 samples a microbatch over 3 data-parallel ranks"):
        next(microbatches(SyntheticData(spec=COLOCATED), 0, {"vision": Slice(0, 3)}))


def test_images_need_room_for_text() -> None:
    schedule = attrs.evolve(NON_COLOCATED.schedule, sequence=4)
    with pytest.raises(ValueError, match="4 image tokens leave no room for text in 4 tokens"):
        SyntheticData(spec=attrs.evolve(NON_COLOCATED, schedule=schedule))
