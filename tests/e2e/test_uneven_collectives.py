"""Collectives of unequal parts over gloo, which takes none, as NCCL does."""

import pytest
import torch
import torch.distributed as dist

from tests.e2e import worlds

SIZES = {"unequal": [1, 0, 3], "equal": [2, 2, 2], "all empty": [0, 0, 0]}


def _gathered(sizes: list[int]) -> list[list[float]]:
    rank = dist.get_rank()
    parts = [torch.full((size,), -1.0) for size in sizes]
    dist.all_gather(parts, torch.full((sizes[rank],), float(rank)), group=dist.group.WORLD)
    return [part.tolist() for part in parts]


def _reduced(sizes: list[int]) -> tuple[list[float], list[list[float]]]:
    rank = dist.get_rank()
    parts = [torch.full((size,), 10.0 * to + rank) for to, size in enumerate(sizes)]
    own = torch.empty(sizes[rank])
    dist.reduce_scatter(own, parts, group=dist.group.WORLD)
    return own.tolist(), [part.tolist() for part in parts]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_rank_hears_every_part(sizes: list[int]) -> None:
    whole = [[float(rank)] * size for rank, size in enumerate(sizes)]
    assert worlds.run(3, _gathered, sizes) == [whole] * 3


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_rank_gets_the_sum_of_its_part(sizes: list[int]) -> None:
    for rank, (own, parts) in enumerate(worlds.run(3, _reduced, sizes)):
        assert own == [30.0 * rank + 0 + 1 + 2] * sizes[rank]
        assert parts == [[10.0 * to + rank] * size for to, size in enumerate(sizes)]
