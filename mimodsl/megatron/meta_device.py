"""The meta device in place of CUDA, and fake process groups in place of NCCL's.

Megatron does: it allocates every weight on CUDA, and makes every group over NCCL, on each rank of
the world.
Why it hurts: to know what a rank of a large world builds would take that world.
Goes when: megatron-core builds a model on the device and the groups that it is given.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch.distributed import distributed_c10d
from torch.overrides import TorchFunctionMode

from mimodsl.megatron.cpu import backend
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.megatron.patch import Patch, applied

META: Final = torch.device("meta")
FAKE: Final = "fake"


def activate() -> contextlib.ExitStack:
    """Make megatron-core take the meta device for CUDA, and fake groups for NCCL's.

    Call it once in a process, or use the result as a context manager, which restores everything on
    leaving. Meanwhile any read of megatron-core's global topology raises (`guard`).
    """
    with contextlib.ExitStack() as undo:
        undo.enter_context(backend.activate())
        undo.enter_context(applied(PATCHES))
        undo.enter_context(no_parallel_state())
        undo.enter_context(META)
        undo.enter_context(_CudaMeansMeta())
        return undo.pop_all()


class _CudaMeansMeta(TorchFunctionMode):
    """Puts the tensors of a call or a tensor method that names CUDA on the meta device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.cuda.meta.", "torch.cuda.")
        if func is torch.Tensor.cuda:
            return args[0].to(META)
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _on_meta(kwargs["device"])}
        return func(*args, **kwargs)


def _on_meta(value: Any) -> Any:
    """The meta device where `value` names a CUDA device, else `value` itself."""
    return META if str(value).partition(":")[0] == "cuda" else value


def _faked(new_group: Callable[..., Any]) -> Callable[..., Any]:
    """`new_group` that makes a fake group for any backend, and ignores the backend's options."""

    def new_fake_group(*args: Any, **kwargs: Any) -> Any:
        return new_group(*args, **(kwargs | {"backend": FAKE, "pg_options": None}))

    return new_fake_group


PATCHES: Final = (
    Patch(
        owner="torch.cuda",
        name="current_device",
        make=lambda _: lambda: META,
        why="the device of most of Megatron's allocations",
    ),
    *(
        Patch(
            owner=owner,
            name="new_group",
            make=_faked,
            why="a fake world has fake groups",
        )
        for owner in (distributed_c10d.__name__, "torch.distributed")
    ),
)
"""Applied on top of the CPU's: names that have another meaning without memory."""
