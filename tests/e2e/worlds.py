"""Small worlds of CPU ranks, forked from one process that has torch and megatron-core loaded."""

import multiprocessing as mp
import os
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_PRELOADED = (
    "torch",
    "megatron.core",
    "megatron.core.dist_checkpointing",
    "mimodsl.build.language",
    "mimodsl.build.projector",
    "tests.e2e.worlds",
)
_LIMIT = 120.0
"""Seconds after which a world counts as hung; a run takes a few."""


class RankFailed(AssertionError):
    """A rank of a world raised; the message has its number and traceback."""


def run(world: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `target(*args)` on every rank of a gloo world; its results by rank.

    Raises `RankFailed` with the first rank that fails, and leaves no process behind.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        pipes = [context.Pipe(duplex=False) for _ in range(world)]
        ranks = [
            context.Process(target=_rank, args=(rank, world, store, pipe[1], target, args))
            for rank, pipe in enumerate(pipes)
        ]
        try:
            for process in ranks:
                process.start()
            for _, sender in pipes:
                sender.close()
            return _collect([receiver for receiver, _ in pipes])
        finally:
            for process in ranks:
                process.kill()
                process.join()


def _collect(receivers: list[Connection]) -> list[Any]:
    results: dict[int, Any] = {}
    pending = {receiver: rank for rank, receiver in enumerate(receivers)}
    while pending:
        ready = wait(list(pending), timeout=_LIMIT)
        if not ready:
            raise RankFailed(f"ranks {sorted(pending.values())} hang")
        for receiver in ready:
            rank = pending.pop(receiver)  # type: ignore[call-overload]
            try:
                error, results[rank] = receiver.recv()  # type: ignore[union-attr]
            except EOFError:
                raise RankFailed(f"rank {rank} died") from None
            if error:
                raise RankFailed(f"rank {rank}:\n{error}")
    return [results[rank] for rank in sorted(results)]


def _rank(
    rank: int,
    world: int,
    store: str,
    sender: Connection,
    target: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    import torch
    import torch.distributed as dist

    from mimodsl.runtime import cpu

    torch.set_num_threads(1)
    os.environ.pop("WORLD_SIZE", None)
    try:
        cpu.activate()
        dist.init_process_group(
            "gloo", rank=rank, world_size=world, store=dist.FileStore(store, world)
        )
        sender.send((None, target(*args)))
    except BaseException:
        sender.send((traceback.format_exc(), None))
    finally:
        sender.close()
        os._exit(0)
