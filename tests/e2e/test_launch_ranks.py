"""Local ranks form a world over gloo, and a collective that not all of them join ends the run."""

import contextlib
import os
import threading

import pytest
import torch
from megatron.core.transformer.moe.moe_logging import get_moe_metrics_tracker
from torch import distributed as dist

from mimodsl.megatron.leftovers import forget_last_model
from mimodsl.runtime.errors import RankFailed, RanksHung
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.workers import Watch
from tests.e2e.stillness import Stillness


def test_ranks_form_a_world_on_the_cpu():
    def work(worker):
        total = torch.ones(2, device="cuda") * worker.rank
        dist.all_reduce(total)
        pair = dist.new_group([0, 1], backend="nccl")
        return total.tolist(), os.environ["RANK"], torch.get_num_threads(), pair is not None

    assert run_ranks(3, work) == tuple(([3.0, 3.0], str(rank), 1, True) for rank in range(3))


def test_the_launcher_stays_as_it_was(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    before = dict(os.environ)
    run_ranks(2, lambda worker: None)
    assert dict(os.environ) == before
    assert not dist.is_initialized()


def test_a_rank_starts_no_ranks():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="a rank of a world already"):
            run_ranks(2, lambda worker: None)
    finally:
        dist.destroy_process_group()


def test_ranks_do_not_wait_for_a_world_that_was_here_before():
    """Statistics of experts hold the groups that they are summed over."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    tracker = get_moe_metrics_tracker()
    loss = torch.zeros(())
    tracker.record("a loss", loss, layer_number=1, num_layers=1, reduce_group=dist.group.WORLD)
    dist.all_reduce(loss)
    del tracker
    dist.destroy_process_group()
    assert run_ranks(2, lambda worker: forget_last_model(), watch=Watch(timeout=60)) == (None, None)


def test_a_rank_that_fails_ends_those_that_wait_for_it():
    def work(worker):
        worker.phase("step 1")
        if worker.rank == 1:
            raise ValueError("no such expert")
        dist.barrier()

    with pytest.raises(RankFailed) as raised:
        run_ranks(3, work)
    failure = raised.value.failure
    assert (failure.rank, failure.phase, failure.error) == (
        1,
        "step 1",
        "ValueError: no such expert",
    )


def test_a_hung_collective_says_who_waits_in_it_and_who_does_not():
    stillness = Stillness(ranks=2)

    def work(worker):
        worker.phase("step 7")
        stillness.say()
        if worker.rank == 0:
            dist.all_reduce(torch.ones(1))
        else:
            never_joins()

    def never_joins():
        threading.Event().wait()

    with contextlib.closing(stillness), pytest.raises(RanksHung) as raised:
        run_ranks(2, work, watch=Watch(timeout=30, clock=stillness.clock))
    waiting = {at.rank: at for at in raised.value.waiting}
    assert {at.phase for at in waiting.values()} == {"step 7"}
    assert "all_reduce" in waiting[0].stack
    assert waiting[0].where.endswith("in work")
    assert waiting[1].where.endswith("in never_joins")
