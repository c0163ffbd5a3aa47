"""What a core of this machine does at most, measured: cores have no datasheet."""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import torch
import torch.distributed as dist
from by_hand_measure import timed_here

from mimodsl.planner.device import Device
from mimodsl.planner.time import Accelerator
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.train import Rank


class Speeds(NamedTuple):
    """What one of several processes does in a second: operations in fp32 and bf16, and bytes."""

    single: float
    half: float
    copied: float
    sent: float


def speeds(_: Rank) -> Speeds:
    """The work of one rank: to be as fast as it can at one thing after the other."""

    def best(action: Callable[[], object], times: int) -> float:
        return min(timed_here(action)[0] for _ in range(times))

    def product(dtype: torch.dtype) -> float:
        a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
        return 2 * 1024**3 / best(lambda: a @ b, 8)

    def copy(size: int) -> float:
        a, b = torch.zeros(size, dtype=torch.uint8), torch.ones(size, dtype=torch.uint8)
        return 2 * size / best(lambda: a.copy_(b), 16)

    def send(size: int) -> float:
        if dist.get_world_size() == 1:
            return inf
        a = torch.zeros(size, dtype=torch.uint8)
        return size / best(lambda: dist.broadcast(a, 0), 8)

    sizes = 2**20, 2**22, 2**26
    return Speeds(
        single=product(torch.float32),
        half=product(torch.bfloat16),
        copied=max(map(copy, sizes)),
        sent=max(map(send, sizes)),
    )


def cores(ranks: int) -> Accelerator:
    """What this machine's cores are to each of that many ranks."""
    found = run_ranks(ranks, speeds, device=Device.CPU)
    single, half, copied, sent = (max(one) for one in zip(*found, strict=True))
    return Accelerator(
        name=f"a core, one of {ranks} ranks",
        half=half,
        single=single,
        memory=0,
        bandwidth=copied,
        link=sent,
        network=sent,
        source="measured",
    )
