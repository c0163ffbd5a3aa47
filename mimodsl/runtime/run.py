"""Builds and trains a spec: in place under a launcher, else on ranks started on this machine."""

import contextlib
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import attrs
from attrs import define, frozen

from mimodsl.ir.spec import Spec
from mimodsl.runtime.checkpoint.folder import latest, prepare
from mimodsl.runtime.checkpoint.manifest import Checkpoint, Saved
from mimodsl.runtime.devices import DeviceChoice, choose, this_machine
from mimodsl.runtime.errors import STARTING, NoDevice, RankFailed, RunError, WrongWorld
from mimodsl.runtime.launch import Device, join_launched, preload, run_ranks
from mimodsl.runtime.meta_build import MetaBuild, build_on_meta
from mimodsl.runtime.quiet import output_to, silence_warnings, tail
from mimodsl.runtime.signals import Terminated, ending_signals, temporary_folder
from mimodsl.runtime.train import Evaluation, RankSummary, Step, Training
from mimodsl.runtime.unfinished import remove_unfinished
from mimodsl.runtime.worker import failure_of
from mimodsl.runtime.workers import Observer, Watch

LOADING = "loading torch and megatron-core"


@frozen(kw_only=True)
class Run:
    """What a run came to on every rank; the same in every process of a world under a launcher."""

    spec: Spec
    device: Device
    ranks: tuple[RankSummary, ...]
    seconds: float
    start: Checkpoint | None = None

    @property
    def saved(self) -> tuple[Saved, ...]:
        return self.ranks[0].saved

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.ranks[0].steps

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        return self.ranks[0].evaluations

    @property
    def traces(self) -> dict[int, Path]:
        """The traces of ranks that were traced."""
        return {one.rank: one.trace for one in self.ranks if one.trace}

    @property
    def backend(self) -> str:
        return self.device.backend


def under_launcher() -> bool:
    """Whether torchrun, or the like, has started this process as one rank of a world."""
    return "RANK" in os.environ


def _launched() -> int:
    """How many ranks a launcher has started."""
    try:
        rank, ranks = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    except (KeyError, ValueError) as error:
        raise WrongWorld(
            "RANK is set, as a launcher sets it, but WORLD_SIZE is not, or one is no integer"
            "\nhelp: `env -u RANK` before the command starts a world on this machine"
        ) from error
    if not 0 <= rank < ranks:
        raise WrongWorld(f"RANK is {rank} in a world of {ranks} ranks")
    return ranks


def is_first() -> bool:
    """Whether this process speaks for the run."""
    return os.environ.get("RANK", "0") == "0"


def run(
    training: Training, *, choice: DeviceChoice, watch: Watch, trains: bool = True
) -> Run | MetaBuild:
    """Builds a checked spec and trains it for some steps; on the meta device it only builds.

    `auto` may come to that unless it has to do what `trains`. Raises `NoDevice` where there are too
    few GPUs for `cuda`, and for `auto` nothing to train on, `WrongWorld` where a launcher has
    started another number of ranks, and what `run_ranks` raises.
    """
    start, spec = time.perf_counter(), training.spec
    if under_launcher() and (started := _launched()) != spec.world:
        raise WrongWorld(
            f"the spec's world has {spec.world} ranks, the launcher has started {started}"
        )
    if is_first():
        _make_folders(training)
        watch.observer.entered(0, LOADING)
    with _output(watch):
        choice = _settled(choice, spec, watch, trains=trains)
        if choice is DeviceChoice.META:
            return build_on_meta(spec, watch)
        device = _device(choice, _ranks_here(spec))
        if device is Device.CPU:
            preload()
    try:
        if under_launcher():
            ranks = _in_place(training, device, watch)
        else:
            with _tidied_up(training):
                ranks = run_ranks(spec.world, training, device=device, watch=watch)
    except (RunError, KeyboardInterrupt, Terminated) as error:
        if training.saving and (last := latest(training.saving.folder)):
            error.add_note(f"note: the last whole checkpoint is {last}")
            error.add_note(f"help: --save {training.saving.folder} --resume goes on from it")
        raise
    return Run(
        spec=spec,
        device=device,
        ranks=ranks,
        start=training.start,
        seconds=time.perf_counter() - start,
    )


def _make_folders(training: Training) -> None:
    if training.saving:
        prepare(training.saving.folder)
    for folder in (training.logs, training.tracing and training.tracing.folder):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _tidied_up(training: Training) -> Generator[None]:
    """Where all ranks are ended in the block, removes what they were writing."""
    try:
        yield
    except BaseException:
        with ending_signals(), contextlib.suppress(OSError):
            for folder in _written_to(training):
                remove_unfinished(folder)
        raise


def _written_to(training: Training) -> Iterator[Path]:
    """The folders in which something shows only when it is whole."""
    if training.saving:
        yield training.saving.folder
    if training.tracing:
        yield training.tracing.folder


def join(choice: DeviceChoice = DeviceChoice.AUTO, timeout: float = 300.0) -> Device:
    """Make this process, which a launcher has started, a rank of its world; says on what.

    Raises `NoDevice` where there are too few GPUs for `cuda`, and `ValueError` without a launcher
    and for `meta`.
    """
    if choice is DeviceChoice.META:
        raise ValueError("a process joins a world on cpu or cuda")
    if not under_launcher():
        raise ValueError("there is no world to join: torchrun has to start this process")
    device = _device(choice, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    join_launched(device, timeout)
    return device


def _settled(choice: DeviceChoice, spec: Spec, watch: Watch, *, trains: bool) -> DeviceChoice:
    """What `auto` comes to outside a launcher, who has made his choice; others as they are."""
    if choice is not DeviceChoice.AUTO or under_launcher():
        return choice
    chosen = choose(spec, this_machine(), trains=trains)
    watch.observer.reported(0, chosen)
    return chosen.choice


def _ranks_here(spec: Spec) -> int:
    """How many of the world's ranks this machine has to run."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if under_launcher() else spec.world


def _device(choice: DeviceChoice, needed: int) -> Device:
    if choice is DeviceChoice.CPU:
        return Device.CPU
    if choice is DeviceChoice.CUDA:
        insist_on_gpus(needed)
    return Device.CUDA if _gpus() >= needed else Device.CPU


def insist_on_gpus(needed: int) -> None:
    """Raise `NoDevice` where this machine has fewer GPUs."""
    if (count := _gpus()) < needed:
        raise NoDevice(f"the ranks of this machine need {needed} GPUs, it has {count}")


def _gpus() -> int:
    import torch

    # It asks the driver and, unlike is_available, does not start CUDA in this process.
    return torch.cuda.device_count()


def _in_place(training: Training, device: Device, watch: Watch) -> tuple[RankSummary, ...]:
    from torch import distributed

    rank = InPlace(rank=int(os.environ["RANK"]), observer=watch.observer)
    with _output(watch) as log:
        if log is not None:
            silence_warnings()
        try:
            rank.phase("rendezvous")
            join_launched(device, watch.timeout)
            mine = agreed(training)(rank)
            ranks: list[Any] = [mine] * distributed.get_world_size()
            distributed.all_gather_object(ranks, mine)  # pyright: ignore[reportUnknownMemberType]
            distributed.destroy_process_group()
        except Exception as error:
            failure = attrs.evolve(
                failure_of(rank.rank, error), phase=rank.current, log=tail(log) if log else ""
            )
            raise RankFailed(failure) from error
    return tuple(ranks)


def agreed(training: Training) -> Training:
    """What the first rank of this process's world is to do, on all of them.

    Each has read spec and checkpoints by itself, and a shared folder may show them at another time.
    """
    from torch import distributed

    told: list[Any] = [training]
    distributed.broadcast_object_list(told, src=0)  # pyright: ignore[reportUnknownMemberType]
    return told[0]


@define(kw_only=True)
class InPlace:
    """A rank that some launcher has started: what it says is shown by the first rank alone."""

    rank: int
    observer: Observer
    current: str = STARTING

    def phase(self, name: str) -> None:
        self.current = name
        if self.rank == 0:
            self.observer.entered(self.rank, name)

    def report(self, value: Any) -> None:
        self.observer.reported(self.rank, value)


@contextlib.contextmanager
def _output(watch: Watch) -> Generator[Path | None]:
    """Holds back what libraries print, in a log, unless all of it is asked for."""
    if watch.verbose:
        yield None
        return
    with temporary_folder() as folder, output_to(log := folder / "output"):
        yield log
