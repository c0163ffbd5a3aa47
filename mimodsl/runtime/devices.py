"""Decides what a world runs on: GPUs, CPU processes or the meta device; and says why."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from mimodsl.ir.spec import Spec
from mimodsl.planner.device import Device
from mimodsl.planner.memory import peak_memory
from mimodsl.planner.plan import plan
from mimodsl.runtime.errors import NoDevice
from mimodsl.runtime.request import DeviceChoice

RANKS_A_CORE: Final = 16
"""The most ranks for one core: more processes mostly wait for each other."""

PROCESS: Final = 64 * 2**20
"""Bytes that a forked rank needs besides its weights: 45 MiB, and some reserve."""


@frozen(kw_only=True)
class Machine:
    """A machine that runs ranks: its GPUs, the cores for this process, and its free bytes."""

    gpus: int
    cores: int
    memory: int


@frozen(kw_only=True)
class DeviceDecision:
    """The device that `auto` stands for, and why."""

    choice: DeviceChoice
    why: str

    def __str__(self) -> str:
        return f"auto: {self.choice}, since {self.why}"


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        gpus=_gpus(),
        cores=len(os.sched_getaffinity(0)),
        memory=free_memory(),
    )


def device_for(choice: DeviceChoice, ranks: int) -> Device:
    """The device for a number of ranks on this machine; `auto` is CUDA if there are enough GPUs.

    Raises `NoDevice` for `cuda` with too few GPUs.
    """
    if choice is DeviceChoice.CPU:
        return Device.CPU
    if choice is DeviceChoice.CUDA:
        insist_on_gpus(ranks)
    return Device.CUDA if _gpus() >= ranks else Device.CPU


def insist_on_gpus(needed: int) -> None:
    """Raise `NoDevice` if this machine has fewer GPUs."""
    if (count := _gpus()) < needed:
        raise NoDevice(f"the ranks of this machine need {needed} GPUs, it has {count}")


def _gpus() -> int:
    import torch

    # device_count asks the driver. is_available would start CUDA in this process.
    return torch.cuda.device_count()


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The free bytes of this machine, or fewer if the container of this process has a limit.

    A container's limit is that of its control group (version 2), in which caches do not count.
    """
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit = int((cgroup / "memory.max").read_text())
        held = dict(map(str.split, (cgroup / "memory.stat").read_text().splitlines()))
        return min(free, max(0, limit - int(held["anon"])))
    except (OSError, ValueError, KeyError):  # no limit, or another system
        return free


def choose(spec: Spec, machine: Machine, *, trains: bool) -> DeviceDecision:
    """The device that `auto` stands for, for a spec on a machine.

    `trains` says that the run trains, so that the meta device is not enough. Raises `NoDevice` if
    the run trains and the machine has no room for it.
    """
    gpus, world = _counted(machine.gpus, "GPU"), _counted(spec.world, "rank")
    if machine.gpus >= spec.world:
        return DeviceDecision(choice=DeviceChoice.CUDA, why=f"there is a GPU for each of {world}")
    there = f"there {'is' if machine.gpus == 1 else 'are'} {gpus} for {world}"
    obstacle = next(_obstacles(spec, machine), None)
    if obstacle is None:
        return DeviceDecision(
            choice=DeviceChoice.CPU, why=f"{there}, and this machine has room for them"
        )
    if trains:
        raise NoDevice(
            f"{there}, and as CPU processes {obstacle}\n"
            "help: --device meta builds one rank of each role; --device cpu tries it anyway"
        )
    return DeviceDecision(choice=DeviceChoice.META, why=f"{there}, and as CPU processes {obstacle}")


def _obstacles(spec: Spec, machine: Machine) -> Iterator[str]:
    """The reasons why a machine can't run the ranks of a spec as CPU processes."""
    if spec.world > machine.cores * RANKS_A_CORE:
        yield f"they are too many for {_counted(machine.cores, 'core')}"
    elif (needed := needed_bytes(spec)) > machine.memory:
        yield (
            f"they would take {_gib(needed)} of memory, of which {_gib(machine.memory)} are free"
        )


def needed_bytes(spec: Spec) -> int:
    """The bytes that all ranks of a checked spec need on one machine, at the peak of a step."""
    layout = plan(spec)
    return sum(
        sum(map(len, alike)) * (PROCESS + peak_memory(layout, alike[0][0]).allocated)
        for alike in layout.alike()
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.0f} GiB"
