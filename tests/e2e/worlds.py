"""Small worlds of CPU ranks, forked from the test's own process once it has loaded Megatron."""

from collections.abc import Callable
from typing import Any

from mimodsl.runtime.errors import RankFailed
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.workers import Watch

__all__ = ["RankFailed", "run"]


def run(world: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `target(*args)` on every rank of a gloo world; its results by rank.

    Raises `RankFailed` with the first rank that fails, and leaves no process behind.
    """
    return list(run_ranks(world, lambda _: target(*args), watch=Watch(timeout=120)))
