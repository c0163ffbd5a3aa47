"""Trains in this process, which torchrun or another launcher has started as a rank."""

import os
from typing import Any

import attrs
from attrs import define

from mimodsl.planner.device import Device
from mimodsl.runtime.devices import device_for
from mimodsl.runtime.errors import STARTING, RankFailed, WrongWorld
from mimodsl.runtime.launch import join_launched, refuse_within_a_world
from mimodsl.runtime.library_output import captured_output, silent_warnings, tail
from mimodsl.runtime.request import TIMEOUT, DeviceChoice
from mimodsl.runtime.train import RankSummary, Training
from mimodsl.runtime.worker import failure_of
from mimodsl.runtime.workers import Observer, Watch


def under_launcher() -> bool:
    """Whether a launcher such as torchrun has started this process as a rank."""
    return "RANK" in os.environ


def is_first() -> bool:
    """Whether this process prints the results of the run: it is rank 0, or not a rank."""
    return os.environ.get("RANK", "0") == "0"


def ranks_here() -> int:
    """The number of ranks that the launcher has started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def require_world(size: int) -> None:
    """Raise `WrongWorld` if the launcher has started another number of ranks."""
    if (started := _launched()) != size:
        raise WrongWorld(f"the spec's world has {size} ranks, the launcher has started {started}")


def _launched() -> int:
    """The number of ranks that the launcher has started."""
    try:
        rank, ranks = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    except (KeyError, ValueError) as error:
        raise WrongWorld(
            "RANK is set, as by a launcher, but WORLD_SIZE is not, or one of them is not an integer"
            "\nhelp: `env -u RANK` before the command starts a world on this machine"
        ) from error
    if not 0 <= rank < ranks:
        raise WrongWorld(f"RANK is {rank} in a world of {ranks} ranks")
    return ranks


def join(choice: DeviceChoice = DeviceChoice.AUTO, timeout: float = TIMEOUT) -> Device:
    """Make this process, which a launcher has started, a rank of its world. Returns its device.

    Raises `NoDevice` if there are too few GPUs for `cuda`, and `ValueError` without a launcher and
    for `meta`.
    """
    if choice is DeviceChoice.META:
        raise ValueError("a process joins a world on cpu or cuda")
    if not under_launcher():
        raise ValueError("there is no world to join: torchrun has to start this process")
    device = device_for(choice, ranks_here())
    join_launched(device, timeout)
    return device


def train_in_place(training: Training, device: Device, watch: Watch) -> tuple[RankSummary, ...]:
    """Train as one rank of the launcher's world. Returns the summaries of all ranks.

    Raises `RankFailed` if this rank fails, and `ValueError` if this process has already joined its
    world.
    """
    from torch import distributed

    refuse_within_a_world()
    rank = RankInPlace(rank=int(os.environ["RANK"]), observer=watch.observer)
    with captured_output(verbose=watch.verbose) as log, silent_warnings(active=log is not None):
        try:
            rank.phase("rendezvous")
            join_launched(device, watch.timeout)
            summary = first_ranks_training(training)(rank)
            summaries: list[Any] = [summary] * distributed.get_world_size()
            distributed.all_gather_object(summaries, summary)  # pyright: ignore[reportUnknownMemberType]
            distributed.destroy_process_group()
        except Exception as error:
            failure = attrs.evolve(
                failure_of(rank.rank, error),
                phase=rank.current_phase,
                log=tail(log) if log else "",
            )
            raise RankFailed(failure) from error
    return tuple(summaries)


def first_ranks_training(training: Training) -> Training:
    """The training that rank 0 does, for all ranks.

    Each rank reads spec and checkpoints itself, and a shared folder may change in between.
    """
    from torch import distributed

    trainings: list[Any] = [training]
    distributed.broadcast_object_list(trainings, src=0)  # pyright: ignore[reportUnknownMemberType]
    return trainings[0]


@define(kw_only=True)
class RankInPlace:
    """A rank that a launcher has started. Only rank 0 reports to its observer."""

    rank: int
    observer: Observer
    current_phase: str = STARTING

    def phase(self, name: str) -> None:
        self.current_phase = name
        if self.rank == 0:
            self.observer.entered(self.rank, name)

    def report(self, value: Any) -> None:
        self.observer.reported(self.rank, value)
