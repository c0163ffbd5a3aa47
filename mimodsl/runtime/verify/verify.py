"""Runs a model on one rank and in its layout, and compares the two."""

import time
from contextlib import nullcontext
from pathlib import Path

import attrs
from attrs import frozen

from mimodsl.checker.runner import check
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels
from mimodsl.planner.device import Device
from mimodsl.runtime.devices import insist_on_gpus
from mimodsl.runtime.launch import preload, run_ranks
from mimodsl.runtime.library_output import output_to
from mimodsl.runtime.run import LOADING
from mimodsl.runtime.signals import temporary_folder
from mimodsl.runtime.verify.compare import compare
from mimodsl.runtime.verify.record import RankRecord
from mimodsl.runtime.verify.reference import alone, comparable
from mimodsl.runtime.verify.request import TOLERANCE
from mimodsl.runtime.verify.shrink import Change, NotComparable, changes, fewer_replicas, shrink
from mimodsl.runtime.verify.verdict import Verdict
from mimodsl.runtime.workers import Watch


@frozen(kw_only=True)
class Reference:
    """The run on one rank: its record here, its tensors in `folder`."""

    spec: Spec
    steps: int
    folder: Path
    record: RankRecord


@frozen(kw_only=True)
class Verification:
    """A spec, what of it was run, and how that went."""

    spec: Spec
    run: Spec
    verdict: Verdict
    tolerance: float
    seconds: float

    @property
    def changes(self) -> tuple[Change, ...]:
        """The fields in which the run spec differs from the spec."""
        return changes(self.spec, self.run)


def prepared(spec: Spec, *, full_size: bool) -> Spec:
    """The spec as it is run: comparable between layouts and, unless `full_size`, of laptop size.

    Raises `TooManyRanks` where its world can't be made small enough, and `NotComparable` where it
    is sound as it stands and not as it would run.
    """
    run = comparable(fewer_replicas(spec) if full_size else shrink(spec))
    errors = [found for found in (*check(run), *check(alone(run))) if found.is_error]
    if errors:
        how = "made comparable" if full_size else "shrunk; `--full-size` keeps its widths"
        raise NotComparable(f"the spec breaks {errors[0].code} ({errors[0].message}) when {how}")
    return run


def run_alone(
    spec: Spec, *, steps: int, folder: Path, watch: Watch, device: Device = Device.CPU
) -> Reference:
    """Train a prepared spec's model on one rank; what it leaves goes to `folder`."""
    from mimodsl.runtime.verify.recorded_run import RecordedRun

    work = RecordedRun(spec=alone(spec), steps=steps, folder=folder, alone=True)
    (record,) = run_ranks(1, work, watch=watch, device=device)
    return Reference(spec=spec, steps=steps, folder=folder, record=record)


def run_layout(
    spec: Spec,
    reference: Reference,
    *,
    tolerance: float,
    watch: Watch,
    device: Device = Device.CPU,
) -> Verdict:
    """Train the reference's model in a layout of it, and compare the two."""
    from mimodsl.runtime.verify.recorded_run import RecordedRun

    work = RecordedRun(spec=spec, steps=reference.steps, folder=reference.folder, alone=False)
    ranks = run_ranks(spec.world, work, watch=watch, device=device)
    return compare(spec, reference.record, ranks, tolerance)


def verify(  # noqa: PLR0913
    spec: Spec,
    run: Spec | None = None,
    *,
    steps: int,
    tolerance: float = TOLERANCE,
    device: Device = Device.CPU,
    watch: Watch | None = None,
) -> Verification:
    """Train a checked spec on one rank and in its layout from the same weights, and compare.

    `run` is what to run of it, as `prepared` makes it. Raises `NoDevice` where there are too few
    GPUs, and what `prepared` and `run_ranks` raise.
    """
    start = time.perf_counter()
    run = run or prepared(spec, full_size=False)
    watch = watch or Watch()
    watch.observer.entered(0, LOADING)
    with temporary_folder() as folder:
        with nullcontext() if watch.verbose else output_to(folder / "output"):
            _ready(device, run.world)
        where = _on(device, run)
        reference = run_alone(where, steps=steps, folder=folder, watch=watch, device=device)
        verdict = run_layout(where, reference, tolerance=tolerance, watch=watch, device=device)
    return Verification(
        spec=spec,
        run=run,
        verdict=verdict,
        tolerance=tolerance,
        seconds=time.perf_counter() - start,
    )


def _ready(device: Device, world: int) -> None:
    if device is Device.CPU:
        preload()
    else:
        insist_on_gpus(world)


def _on(device: Device, run: Spec) -> Spec:
    """The spec on local kernels: `auto` may stand for others on a GPU."""
    if device is Device.CPU:
        return run
    return attrs.evolve(run, train=attrs.evolve(run.train, kernels=Kernels.LOCAL))
