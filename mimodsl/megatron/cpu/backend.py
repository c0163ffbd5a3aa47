"""Makes megatron-core run on a CPU, in a process that asks for it.

Megatron does: it names CUDA and NCCL in some two hundred places: a device to allocate on, a stream
to order work, a generator to seed, a backend to talk over.
Why it hurts: training needs none of them, yet nothing runs without a GPU. Each has a meaning on a
CPU.
Goes when: megatron-core trains on the device that it is given.

`PATCHES` lists these meanings by what they stand for, and `activate` applies all of them. Importing
this module changes nothing.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import torch
from megatron.core import utils

from mimodsl.megatron.cpu import mamba_kernels
from mimodsl.megatron.cpu.collectives import COLLECTIVES
from mimodsl.megatron.cpu.device import CPU, CudaMeansCpu, with_mode
from mimodsl.megatron.cpu.streams import NullEvent, NullStream
from mimodsl.megatron.patch import Patch, applied

_MEGATRON_UTILS: Any = utils

_MEGATRON_RANDOM = "megatron.core.tensor_parallel.random"
_DRAW_WARNING = "CPU RNG state changed within GPU RNG context"


def activate() -> contextlib.ExitStack:
    """Applies every patch to this process and, for the device argument of calls, to this thread.

    A rank calls it once, before it touches megatron-core, and drops the result: the patches then
    last as long as the process. Used as a context manager, the result takes them back on leaving.
    """
    with contextlib.ExitStack() as undo:
        undo.enter_context(applied(patch for group in PATCHES.values() for patch in group))
        undo.enter_context(CudaMeansCpu())
        # jit_fuser is torch.compile (core/jit.py): its kernels would be built by a C++ compiler,
        # for seconds each, to fuse what costs microseconds here.
        undo.enter_context(torch.compiler.set_stance("force_eager"))
        undo.callback(_silence_draw_warning())
        undo.callback(mamba_kernels.install())
        return undo.pop_all()


def _returning(value: Any) -> Callable[[Any], Any]:
    def constant(*_args: Any, **_kwargs: Any) -> Any:
        return value

    return lambda _original: constant


def _instead(replacement: Any) -> Callable[[Any], Any]:
    return lambda _original: replacement


def _manual_seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)


def _get_rng_state(*_device: Any, **_how: Any) -> torch.Tensor:
    return torch.get_rng_state()


def _set_rng_state(new_state: torch.Tensor, *_device: Any, **_how: Any) -> None:
    torch.set_rng_state(new_state)


def _silence_draw_warning() -> Callable[[], None]:
    """Drops the RNG tracker's warning about what is meant here; returns what takes that back.

    The tracker's forks warn when the CPU generator moves while the GPU's is forked: here they are
    the same generator, so every draw would warn (tensor_parallel/random.py,
    "CPU RNG state changed within GPU RNG context").
    """

    def is_other(record: logging.LogRecord) -> bool:
        return record.getMessage() != _DRAW_WARNING

    logger = logging.getLogger(_MEGATRON_RANDOM)
    logger.addFilter(is_other)
    return lambda: logger.removeFilter(is_other)


def _cuda(name: str, make: Callable[[Any], Any], why: str) -> Patch:
    return Patch(owner="torch.cuda", name=name, make=make, why=why)


def _fused(owner: str, name: str, instead: Any) -> Patch:
    return Patch(
        owner=f"megatron.core.optimizer{owner}",
        name=name,
        make=_instead(instead),
        why="where Transformer Engine or apex is installed, theirs is taken: it needs CUDA tensors",
    )


PATCHES: Final[dict[str, tuple[Patch, ...]]] = {
    "device": (
        _cuda("is_available", _returning(False), "a GPU that is there is not to be used"),
        _cuda("current_device", _returning(CPU), "the device of most of Megatron's allocations"),
        Patch(
            owner="torch.autograd",
            name="_engine_run_backward",
            make=with_mode,
            why="recomputation and backward functions allocate on CUDA inside Tensor.backward",
        ),
        _cuda("set_device", _returning(None), "there is one device"),
        _cuda("synchronize", _returning(None), "nothing runs behind the program's back"),
        _cuda("reset_peak_memory_stats", _returning(None), "refused without a GPU"),
        _cuda("is_current_stream_capturing", _returning(False), "no graph is ever captured"),
    ),
    "streams": (
        _cuda("Stream", _instead(NullStream), "MoE dispatch, shared experts and DDP make streams"),
        _cuda("Event", _instead(NullEvent), "the copies on those streams are waited for"),
        _cuda("current_stream", _returning(NullStream()), "side streams wait for it"),
        _cuda("stream", lambda _: NullStream, "the block runs in program order"),
    ),
    "random": (
        _cuda("manual_seed", _instead(_manual_seed), "CUDA's seed would be kept for later"),
        _cuda("get_rng_state", _instead(_get_rng_state), "the tracker's add() saves it"),
        _cuda("set_rng_state", _instead(_set_rng_state), "the same generator's other half"),
        Patch(
            owner=_MEGATRON_RANDOM,
            name="_get_cuda_rng_state",
            make=_instead(_get_rng_state),
            why="the tracker's fork() and recomputation save it",
        ),
        Patch(
            owner=_MEGATRON_RANDOM,
            name="_set_cuda_rng_state",
            make=_instead(_set_rng_state),
            why="it defers the work until CUDA starts, which is never",
        ),
    ),
    "collectives": COLLECTIVES,
    "optimizer": (
        _fused("", "Adam", torch.optim.AdamW),
        _fused("", "USING_PYTORCH_OPTIMIZER", True),
        _fused(".optimizer", "multi_tensor_applier", _MEGATRON_UTILS.local_multi_tensor_applier),
        _fused(".optimizer", "multi_tensor_scale_impl", _MEGATRON_UTILS.local_multi_tensor_scale),
        _fused(".clip_grads", "multi_tensor_applier", _MEGATRON_UTILS.local_multi_tensor_applier),
        _fused(".clip_grads", "l2_norm_impl", _MEGATRON_UTILS.local_multi_tensor_l2_norm),
        _fused(".clip_grads", "multi_tensor_scale_impl", _MEGATRON_UTILS.local_multi_tensor_scale),
        _fused(".clip_grads", "multi_tensor_scale_tensor_impl", None),
    ),
}
