"""The cross entropy of a vocabulary that lies on several ranks."""

import pytest
import torch
import torch.distributed as dist

from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.worker import Worker
from tests.unit.builder.test_loss import exact, sample, taken


def share(worker: Worker) -> list[list[float]]:
    """The losses and the gradient of this rank's part of the vocabulary."""
    logits, labels, weights = sample(torch.float32)
    own = logits.chunk(worker.world, -1)[worker.rank]
    return [part.flatten().tolist() for part in taken(own, labels, weights, dist.group.WORLD)]


def test_every_rank_has_its_part_of_the_gradient() -> None:
    wanted, slope = exact(*sample(torch.float32))
    for rank, (losses, gradient) in enumerate(run_ranks(2, share)):
        assert losses == pytest.approx(wanted.flatten().tolist(), rel=1e-5, abs=1e-5)
        own = slope.chunk(2, -1)[rank].flatten().tolist()
        assert gradient == pytest.approx(own, rel=1e-4, abs=1e-6)
