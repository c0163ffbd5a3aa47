"""Builds and trains a spec: in place under a launcher, else on ranks started on this machine."""

import contextlib
import pickle
import time
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path

from attrs import frozen

from mimodsl.ir.spec import Spec
from mimodsl.planner.device import Device
from mimodsl.runtime.checkpoint.folder import latest, prepare
from mimodsl.runtime.checkpoint.manifest import Checkpoint, SavedCheckpoint
from mimodsl.runtime.devices import choose, device_for, this_machine
from mimodsl.runtime.errors import RunError
from mimodsl.runtime.launch import preload, run_ranks
from mimodsl.runtime.launcher import (
    is_first,
    ranks_here,
    require_world,
    train_in_place,
    under_launcher,
)
from mimodsl.runtime.library_output import captured_output
from mimodsl.runtime.meta_build import MetaBuild, build_on_meta
from mimodsl.runtime.request import DeviceChoice, TrainRequest
from mimodsl.runtime.signals import Terminated, ending_signals
from mimodsl.runtime.to_training import to_training
from mimodsl.runtime.train import Evaluation, RankSummary, Step, Training
from mimodsl.runtime.unfinished_files import remove_unfinished
from mimodsl.runtime.workers import Observer, Watch
from mimodsl.wrong_options import WrongOptions

LOADING = "loading torch and megatron-core"


@frozen(kw_only=True)
class Run:
    """What a run came to on every rank; the same in every process of a world under a launcher.

    `seconds` are those of the whole run, `start` is the checkpoint that it went on from, and
    `nothing_left` says that it was to resume a run that had all its steps.
    """

    spec: Spec
    device: Device
    ranks: tuple[RankSummary, ...]
    seconds: float
    start: Checkpoint | None = None
    nothing_left: bool = False

    @property
    def saved(self) -> tuple[SavedCheckpoint, ...]:
        """The checkpoints that were saved, in order."""
        return self.ranks[0].saved

    @property
    def steps(self) -> tuple[Step, ...]:
        """The training steps, in order: loss, gradient norm, learning rate and time of each."""
        return self.ranks[0].steps

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The evaluations on held-out samples, in order."""
        return self.ranks[0].evaluations

    @property
    def traces(self) -> dict[int, Path]:
        """The file of each traced rank's trace."""
        return {summary.rank: summary.trace for summary in self.ranks if summary.trace}

    @property
    def backend(self) -> str:
        """What the ranks talked over: `gloo` or `nccl`."""
        return self.device.backend


def train(
    spec: Spec,
    request: TrainRequest,
    *,
    observer: Observer | None = None,
    verbose: bool = False,
) -> Run:
    """Train a checked spec as a request says.

    Raises `WrongOptions` where the request does not fit the spec, `NoDevice` where there are too
    few GPUs for `cuda` or nothing to train on for `auto`, `WrongWorld` where a launcher has started
    another number of ranks, `CheckpointError` where a checkpoint does not fit, and what `run_ranks`
    raises.
    """
    watch = Watch.over(timeout=request.timeout, observer=observer, verbose=verbose)
    run = _run(spec, request, watch, may_use_meta=False)
    assert isinstance(run, Run)
    return run


def train_or_build(
    spec: Spec,
    request: TrainRequest,
    *,
    observer: Observer | None = None,
    verbose: bool = False,
) -> Run | MetaBuild:
    """As `train`, or builds on the meta device: for `meta`, and for `auto` where this machine has
    no room for the world and no option of training is given."""
    may_use_meta = not request.training_options
    watch = Watch.over(timeout=request.timeout, observer=observer, verbose=verbose)
    return _run(spec, request, watch, may_use_meta=may_use_meta)


def _run(spec: Spec, request: TrainRequest, watch: Watch, *, may_use_meta: bool) -> Run | MetaBuild:
    start = time.perf_counter()
    if request.device is DeviceChoice.META and under_launcher():
        raise WrongOptions(
            "{device:=meta} builds all roles in this one process: start it without a launcher"
        )
    if request.log_dir:
        import_module("tensorboard")  # so that it is missed before any rank starts
    training = to_training(spec, request)
    if under_launcher():
        require_world(spec.world)
    if is_first():
        _make_folders(training)
        watch.observer.entered(0, LOADING)
    with captured_output(verbose=watch.verbose):
        choice = _settled(request.device, training.spec, watch, may_use_meta=may_use_meta)
        if choice is DeviceChoice.META:
            return build_on_meta(training.spec, watch)
        device = device_for(choice, ranks_here() if under_launcher() else spec.world)
        if device is Device.CPU:
            preload()
    ranks = _trained(training, device, watch)
    return Run(
        spec=training.spec,
        device=device,
        ranks=ranks,
        start=training.start,
        nothing_left=request.resume and training.start is not None and not training.steps,
        seconds=time.perf_counter() - start,
    )


def _settled(choice: DeviceChoice, spec: Spec, watch: Watch, *, may_use_meta: bool) -> DeviceChoice:
    """What `auto` comes to outside a launcher, whose caller has made the choice."""
    if choice is not DeviceChoice.AUTO or under_launcher():
        return choice
    chosen = choose(spec, this_machine(), trains=not may_use_meta)
    watch.observer.reported(0, chosen)
    return chosen.choice


def _trained(training: Training, device: Device, watch: Watch) -> tuple[RankSummary, ...]:
    if device is Device.CUDA or under_launcher():
        _require_picklable(training)
    try:
        if under_launcher():
            return train_in_place(training, device, watch)
        with _tidied_up(training):
            return run_ranks(training.spec.world, training, device=device, watch=watch)
    except (RunError, KeyboardInterrupt, Terminated) as error:
        if training.saving and (last := latest(training.saving.folder)):
            error.add_note(f"note: the last whole checkpoint is {last}")
            error.add_note(f"help: --save {training.saving.folder} --resume goes on from it")
        raise


def _require_picklable(training: Training) -> None:
    """Raise `WrongOptions` where the samples' function can't go to ranks that aren't forked."""
    try:
        pickle.dumps(training.data)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise WrongOptions(
            "{data} has to be a function or a class of a module, for ranks on GPUs and under a "
            "launcher: others can't be pickled"
        ) from error


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
