"""Starts a world of ranks on this machine, as processes with a process group."""

import contextlib
import gc
import importlib
import os
import socket
from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from attrs import field, frozen

from mimodsl.megatron.cpu.hidden_packages import hide_kernels, loaded_kernels
from mimodsl.planner.device import Device
from mimodsl.runtime.worker import Worker
from mimodsl.runtime.workers import Watch, run_workers

_PRELOADED = (
    "torch",
    "torch.distributed",
    "megatron.core",
    "mimodsl.megatron.cpu.backend",
    "mimodsl.builder.assembly",
)
_LOOPBACK = "127.0.0.1"
# One thread a rank: the ranks of a world share the cores of one machine.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@frozen(kw_only=True)
class _Member:
    """The work of a rank, with the world's process group around it."""

    work: Callable[[Worker], Any]
    device: Device
    port: int = field(repr=False)
    timeout: float

    def __call__(self, worker: Worker) -> Any:
        from torch import distributed
        from torch._C._distributed_c10d import TCPStore

        worker.phase("rendezvous")
        os.environ.update(_environment(worker))
        _set_device(self.device, worker.rank)
        timeout = _collective_timeout(self.timeout)
        # Without device_id: bound to a device, torch makes every group with all ranks of the world,
        # where `mimodsl.builder.groups` has its members make it.
        distributed.init_process_group(
            backend=self.device.backend,
            store=TCPStore(_LOOPBACK, self.port, is_master=False, timeout=timeout),
            rank=worker.rank,
            world_size=worker.world,
            timeout=timeout,
        )
        if self.device is Device.CPU:
            # Over gloo, a rank that ends at once closes connections that others still open.
            distributed.barrier()  # pyright: ignore[reportUnknownMemberType]
        value = self.work(worker)
        distributed.destroy_process_group()
        return value


def run_ranks[T](
    world: int,
    work: Callable[[Worker], T],
    *,
    device: Device = Device.CPU,
    watch: Watch | None = None,
) -> tuple[T, ...]:
    """Run `work` on `world` local ranks and return their results, by rank.

    Each rank is a process with one thread and an initialised `torch.distributed`: gloo on the CPU,
    NCCL on CUDA. On the CPU, corrections let megatron-core run there. CPU ranks are forks and
    share the imports of this process: see `preload`. CUDA ranks are new interpreters: a fork
    fails once CUDA has started; their `work` must pickle. Raises what `run_workers` raises, and
    `ValueError` in a process that is a rank itself, or that has loaded GPU kernels which CPU ranks
    would share.
    """
    watch = watch or Watch()
    if device is Device.CPU:
        _refuse_kernels()
        preload()
    refuse_within_a_world()
    if device is Device.CPU:
        _forget_last_world()
    with (
        _listening() as listener,
        _set(_ONE_THREAD),
        _frozen_garbage(),
        contextlib.ExitStack() as stores,
    ):
        member = _Member(
            work=work, device=device, port=listener.getsockname()[1], timeout=watch.timeout
        )
        return run_workers(
            world,
            member,
            start="fork" if device is Device.CPU else "spawn",
            watch=watch,
            started=partial(_serve_store, listener, stores),
        )


def _refuse_kernels() -> None:
    if name := loaded_kernels():
        raise ValueError(
            f"this process has loaded {name}, which its ranks would share and no CPU has; "
            f"start CPU ranks from a process that has not, as `mimodsl build --device cpu` is"
        )


def refuse_within_a_world() -> None:
    """Raise `ValueError` if this process is a rank of a world."""
    from torch import distributed

    if distributed.is_initialized():
        raise ValueError("this process is a rank of a world already, and cannot start another")


def _forget_last_world() -> None:
    """Drop what an earlier world of this process has left, before this process forks.

    A process group waits for its threads when it is dropped, and a fork has no such threads.
    """
    from mimodsl.megatron.leftovers import forget_last_model

    forget_last_model()


def preload() -> None:
    """Import what CPU ranks need once, so that forked ranks share it."""
    with _set(_ONE_THREAD), hide_kernels():
        for module in _PRELOADED:
            importlib.import_module(module)


def join_launched(device: Device, timeout: float) -> None:
    """Make this process, which a launcher has started, a member of the world's process group."""
    from torch import distributed

    _set_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group(backend=device.backend, timeout=_collective_timeout(timeout))


def _set_device(device: Device, index: int) -> None:
    """Set the device of this process, before anything is built."""
    import torch

    if device is Device.CPU:
        hide_kernels()
        from mimodsl.megatron.cpu import backend

        torch.set_num_threads(1)
        backend.activate()
    else:
        torch.cuda.set_device(index)


def _collective_timeout(timeout: float) -> timedelta:
    """The time limit of a collective: longer than the launcher's, which reports a hang better."""
    return timedelta(seconds=2 * timeout)


def _environment(worker: Worker) -> dict[str, str]:
    """The variables that torchrun sets, and loopback for gloo, since host names may not resolve."""
    return {
        "RANK": str(worker.rank),
        "LOCAL_RANK": str(worker.rank),
        "WORLD_SIZE": str(worker.world),
        "LOCAL_WORLD_SIZE": str(worker.world),
        "GLOO_SOCKET_IFNAME": next(n for _, n in socket.if_nameindex() if n.startswith("lo")),
    }


@contextlib.contextmanager
def _frozen_garbage() -> Generator[None]:
    """Keep garbage collection in forked ranks from writing to shared pages, which copies them."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def _listening() -> Generator[socket.socket]:
    """A socket on a free port, for the store of the world."""
    with socket.create_server((_LOOPBACK, 0)) as listener:
        yield listener


def _serve_store(listener: socket.socket, stores: contextlib.ExitStack) -> None:
    """Serve the rendezvous from this process. It starts a thread, so ranks are forked before."""
    from torch._C._distributed_c10d import TCPStore

    port = listener.getsockname()[1]
    store: list[TCPStore] = [
        TCPStore(
            _LOOPBACK,
            port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    ]
    stores.callback(store.clear)


@contextlib.contextmanager
def _set(variables: Mapping[str, str]) -> Generator[None]:
    """Set environment variables for the length of a block, except those that are set already."""
    added = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
