"""Makes megatron-core 0.19.2 believe in a device that is the CPU, in a process that asks for it.

megatron-core names CUDA and NCCL in some two hundred places. Nothing in its training path needs
them: every one is a device to allocate on, a stream to order, a generator to seed or a backend to
talk over, and each has a CPU meaning. `PATCHES` lists those meanings by what they stand for;
`activate` applies them all. Importing this module changes nothing.
"""

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from attrs import frozen
from megatron.core import utils
from torch.distributed import distributed_c10d
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,  # pyright: ignore[reportPrivateUsage]
)

from mimodsl.megatron import mamba_kernels

CPU = torch.device("cpu")

_MEGATRON_UTILS: Any = utils
_DISTRIBUTED: Any = torch.distributed

_MEGATRON_RANDOM = "megatron.core.tensor_parallel.random"
_DRAW_WARNING = "CPU RNG state changed within GPU RNG context"


@frozen(kw_only=True)
class Patch:
    """One name given a CPU meaning.

    `make` receives the original and returns what stands in its place, so that a replacement
    can call through.
    """

    owner: str
    name: str
    make: Callable[[Any], Any]
    why: str


def activate() -> contextlib.ExitStack:
    """Applies every patch to this process and, for the device argument of calls, to this thread.

    A rank calls it once, before it touches megatron-core, and drops the result: the patches then
    last as long as the process. Used as a context manager, the result takes them back on leaving.
    """
    with contextlib.ExitStack() as undo:
        undo.enter_context(applied(patch for group in PATCHES.values() for patch in group))
        undo.enter_context(_CudaMeansCpu())
        # jit_fuser is torch.compile (core/jit.py): its kernels would be built by a C++ compiler,
        # for seconds each, to fuse what costs microseconds here.
        undo.enter_context(torch.compiler.set_stance("force_eager"))
        undo.callback(_silence_draw_warning())
        undo.callback(mamba_kernels.install())
        return undo.pop_all()


def applied(patches: Iterable[Patch]) -> contextlib.ExitStack:
    """Applies patches, one upon the other; leaving the result takes them back."""
    with contextlib.ExitStack() as undo:
        for patch in patches:
            owner = importlib.import_module(patch.owner)
            original = getattr(owner, patch.name)
            setattr(owner, patch.name, patch.make(original))
            undo.callback(setattr, owner, patch.name, original)
        return undo.pop_all()


class _CudaMeansCpu(TorchFunctionMode):
    """Gives a CPU meaning to what a call or a tensor method says about its device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            # The optimizers sort parameters by CUDA type names (optimizer/optimizer.py:1009,
            # optimizer/distrib_optimizer.py:401).
            return func(*args).replace("torch.", "torch.cuda.", 1)
        if func is torch.Tensor.to:
            args = tuple(_on_cpu(arg) for arg in args)
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _on_cpu(kwargs["device"])}
        if kwargs.get("pin_memory"):
            # Rotary embeddings pin an index over cp (models/common/embeddings/rope_utils.py:62).
            kwargs = {**kwargs, "pin_memory": False}
        return func(*args, **kwargs)


def _on_cpu(value: Any) -> Any:
    """The CPU where `value` names a CUDA device, else `value` itself."""
    if isinstance(value, torch.device):
        return CPU if value.type == "cuda" else value
    if isinstance(value, str) and value.partition(":")[0] == "cuda":
        return CPU
    return value


class NullEvent:
    """A CUDA event on a device that runs in program order: it has happened once it is recorded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def record(self, stream: Any = None) -> None: ...

    def wait(self, stream: Any = None) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True


class NullStream(contextlib.AbstractContextManager["NullStream"]):
    """A CUDA stream on a device that runs in program order. Every stream is the current one."""

    device = CPU

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NullStream)

    def __hash__(self) -> int:
        return hash(NullStream)

    def __exit__(self, *_: object) -> None: ...

    def wait_stream(self, stream: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True

    def record_event(self, event: NullEvent | None = None) -> NullEvent:
        return event or NullEvent()

    @staticmethod
    def priority_range() -> tuple[int, int]:
        return 0, 0


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


def _over_gloo(new_group: Callable[..., Any]) -> Callable[..., Any]:
    """`new_group` that makes a gloo group where NCCL is named, without options for NCCL."""

    def new_gloo_group(
        ranks: Any = None, timeout: Any = None, backend: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if backend is None or "nccl" not in str(backend):
            return new_group(ranks, timeout, backend, *args, **kwargs)
        kwargs.pop("pg_options", None)
        return new_group(ranks, timeout, "gloo", None, *args[1:], **kwargs)

    return new_gloo_group


def _with_int_splits(all_to_all_single: Callable[..., Any]) -> Callable[..., Any]:
    """`all_to_all_single` whose split sizes may be tensors or arrays."""

    def all_to_all_ints(
        output: Any,
        input: Any,  # torch's own name for it
        output_split_sizes: Any = None,
        input_split_sizes: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        splits = [
            sizes if sizes is None else [int(size) for size in sizes]
            for sizes in (output_split_sizes, input_split_sizes)
        ]
        return all_to_all_single(output, input, *splits, *args, **kwargs)

    return all_to_all_ints


def _gathering_uneven(all_gather: Callable[..., Any]) -> Callable[..., Any]:
    """`all_gather` that takes tensors of different sizes: then each rank broadcasts its own."""

    def all_gather_uneven(
        parts: Sequence[Any], own: torch.Tensor, group: Any = None, async_op: bool = False
    ) -> Any:
        if _alike(parts) or async_op:
            return all_gather(parts, own, group, async_op)
        parts[_DISTRIBUTED.get_rank(group)].copy_(own)
        for source, part in enumerate(parts):
            if part.numel():
                _DISTRIBUTED.broadcast(part, group=group, group_src=source)
        return None

    return all_gather_uneven


def _scattering_uneven(reduce_scatter: Callable[..., Any]) -> Callable[..., Any]:
    """`reduce_scatter` that takes tensors of different sizes: then each rank's is reduced to it."""

    def reduce_scatter_uneven(
        own: Any, parts: Sequence[torch.Tensor], *args: Any, group: Any = None, **how: Any
    ) -> Any:
        if _alike(parts):
            return reduce_scatter(own, parts, *args, group=group, **how)
        for destination, part in enumerate(parts):
            total = part.clone()
            if part.numel():
                _DISTRIBUTED.reduce(total, *args, group=group, group_dst=destination, **how)
            if destination == _DISTRIBUTED.get_rank(group):
                own.copy_(total)
        return None

    return reduce_scatter_uneven


def _alike(parts: Sequence[torch.Tensor]) -> bool:
    return len({part.shape for part in parts}) == 1


def _with_mode(run_backward: Callable[..., Any]) -> Callable[..., Any]:
    """`run_backward` under the mode that a torch function such as `Tensor.backward` took off."""

    def run_backward_on_cpu(*args: Any, **kwargs: Any) -> Any:
        modes = _get_current_function_mode_stack()
        active = any(isinstance(mode, _CudaMeansCpu) for mode in modes)
        with contextlib.nullcontext() if active else _CudaMeansCpu():
            return run_backward(*args, **kwargs)

    return run_backward_on_cpu


def _silence_draw_warning() -> Callable[[], None]:
    """Drops the RNG tracker's warning about what is meant here; returns what takes that back.

    The tracker's forks warn when the CPU generator moves while the GPU's is forked: here they are
    the same generator, so every draw would warn (tensor_parallel/random.py:330).
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
            make=_with_mode,
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
    "collectives": (
        # distributed_c10d's own name is what new_subgroups_by_enumeration calls.
        Patch(
            owner=distributed_c10d.__name__,
            name="new_group",
            make=_over_gloo,
            why="HyperCommGrid and the MIMO bridges make their groups over NCCL by name",
        ),
        Patch(
            owner="torch.distributed",
            name="new_group",
            make=_over_gloo,
            why="BridgeCommunicator's leader group calls it by this name",
        ),
        Patch(
            owner="torch.distributed",
            name="all_to_all_single",
            make=_with_int_splits,
            why="the MoE dispatcher passes split sizes as tensors; gloo takes ints",
        ),
        Patch(
            owner="torch.distributed",
            name="all_gather",
            make=_gathering_uneven,
            why="with etp the MoE dispatcher gathers each rank's tokens; gloo takes equal sizes",
        ),
        Patch(
            owner="torch.distributed",
            name="reduce_scatter",
            make=_scattering_uneven,
            why="and deals them out again",
        ),
    ),
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
