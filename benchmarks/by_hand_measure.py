"""What is measured of a model by hand and through mimodsl: time, memory, groups and launches."""

import gc
import time
from collections.abc import Callable
from typing import Any, override

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

MIB = 2**20


class Launches(TorchDispatchMode):
    """Counts operators, and collectives among them."""

    operators = 0
    collectives = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators += 1
        self.collectives += func.namespace == "c10d"
        return func(*args, **(kwargs or {}))


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """How long all ranks took for it, and what it returned here."""
    here, result = timed_here(action)
    seconds = torch.tensor(here, device=torch.cuda.current_device())
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    return float(seconds), result


def timed_here(action: Callable[[], Any]) -> tuple[float, Any]:
    """How long this rank took for it, from when all were ready, and what it returned."""
    synchronize()
    dist.barrier()
    synchronize()
    start = time.perf_counter()
    result = action()
    synchronize()
    return time.perf_counter() - start, result


def synchronize() -> None:
    torch.cuda.synchronize()


def on_gpu() -> bool:
    return torch.cuda.is_available()


def allocated() -> int:
    return torch.cuda.memory_allocated() if on_gpu() else 0


def peak() -> int:
    return torch.cuda.max_memory_allocated() if on_gpu() else 0


def reset_peak() -> None:
    if on_gpu():
        torch.cuda.reset_peak_memory_stats()


def release() -> None:
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()


def outside_mib() -> float:
    """Device memory in use that torch's allocator knows nothing of: NCCL's buffers, above all."""
    if not on_gpu():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free - torch.cuda.memory_reserved()) / MIB


def groups_here() -> list[Any]:
    """The process groups that this rank is in."""
    from torch.distributed import distributed_c10d

    return list(distributed_c10d._world.pg_names)  # noqa: SLF001


def is_connected(group: Any) -> bool:
    """Whether anything was ever sent over a group: NCCL connects at its first collective."""
    if not on_gpu():
        return True
    return group._get_backend(torch.device("cuda"))._is_initialized()  # noqa: SLF001
