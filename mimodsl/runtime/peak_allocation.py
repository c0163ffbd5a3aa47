"""The most memory that is allocated on a rank: as CUDA counts it, or on a CPU by tensors."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, override

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mimodsl.builder import schedule


def peak_allocated[R](action: Callable[[], R]) -> tuple[int, R]:
    """The most bytes allocated at a time while an action lasts, and what it returns.

    On CUDA that is `max_memory_allocated`, else what tensors take (`AllocationCounter`).
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        result = action()
        return torch.cuda.max_memory_allocated(), result
    with AllocationCounter() as tensors, tensors.reductions_left_out():
        result = action()
    return tensors.peak, result


class AllocationCounter(TorchDispatchMode):
    """Follows every storage that an operation gives within the block, to its end.

    `peak` is the most bytes of them at a time, `now` what is left. What kernels allocate for
    themselves and give back is not seen, nor what was there before the block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._follow(leaf.untyped_storage())
        return result

    def _follow(self, storage: Any) -> None:
        if (key := storage._cdata) in self._known:  # noqa: SLF001
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    @contextmanager
    def reductions_left_out(self) -> Generator[None]:
        """Count no reduction of gradients: gloo copies them, NCCL reduces in place."""
        finalize: Any = schedule.finalize_model_grads

        def finalized(*args: Any, **kwargs: Any) -> Any:
            peak = self.peak
            result = finalize(*args, **kwargs)
            self.peak = max(peak, self.now)
            return result

        schedule.finalize_model_grads = finalized
        try:
            yield
        finally:
            schedule.finalize_model_grads = finalize
