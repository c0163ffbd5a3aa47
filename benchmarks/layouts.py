"""Holds the memory and the least time that `mimodsl plan` states of layouts against training them.

    python benchmarks/layouts.py            on as many GPUs as there are, at sizes that fill them
    python benchmarks/layouts.py --cpu      on this machine's cores, at small sizes

On GPUs a rank's memory is `torch.cuda.max_memory_allocated` and the limits of time are the
datasheet's. On a CPU it is the most bytes of tensors alive at a time, with cuBLAS's workspace left
out of the prediction; and as many processes as the layout has ranks multiply matrices, copy and
send at once, of which the best is taken for what a rank can do. Layouts of more ranks than there
are GPUs are left out. Both tables go to standard output, and with --out to files of a folder.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from attrs import frozen
from by_hand_measure import MIB, timed_here
from cores import cores
from layout_specs import LAYOUTS, Layout, spec_of
from measured import where

from mimodsl import Spec
from mimodsl.builder.assembly import assemble
from mimodsl.planner.device import Device
from mimodsl.planner.memory import peak_memory
from mimodsl.planner.memory.peak import WORKSPACE
from mimodsl.planner.plan import plan
from mimodsl.planner.time import ACCELERATORS, Accelerator, least_time
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.errors import RunError
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.peak_allocation import peak_allocated
from mimodsl.runtime.train import Rank
from mimodsl.show.numbers import duration

WARM: Final = 2
"""Steps before those that are timed. They reach the peak: the first makes the optimizer's state."""


class Seen(NamedTuple):
    """What one rank saw of its training: bytes at the peak, seconds of each step, and by the lines
    that allocated them what was alive at the peak of one more step, largest first."""

    peak: int
    seconds: list[float]
    alive: list[tuple[int, str]]


@frozen(kw_only=True)
class Training:
    """The work of one rank: to build a checked spec and train it."""

    spec: Spec
    steps: int
    alive: bool

    def __call__(self, rank: Rank) -> Seen:
        peak, (assembly, data) = peak_allocated(lambda: self._train(rank))
        taken = [
            timed_here(self._step(rank, assembly, data, step))[0]
            for step in range(WARM, WARM + self.steps)
        ]
        if not self.alive:
            return Seen(peak, taken, [])
        from alive_at_peak import alive_at_peak

        return Seen(peak, taken, alive_at_peak(self._step(rank, assembly, data, 0)))

    def _train(self, rank: Rank) -> tuple[Any, SyntheticData]:
        assembly, data = assemble(self.spec), SyntheticData(spec=self.spec)
        for step in range(WARM):
            self._step(rank, assembly, data, step)()
        return assembly, data

    def _step(self, rank: Rank, assembly: Any, data: SyntheticData, step: int) -> Any:
        """One step, its samples made already."""
        rank.phase(f"step {step + 1}")
        samples = list(microbatches(data, step, assembly.process_groups))
        return lambda: assembly.train_step(samples)


class Result(NamedTuple):
    """A layout as planned and as seen: each rank's bytes, and the seconds of a step."""

    layout: str
    predicted: list[int]
    measured: list[int]
    least: float
    taken: float
    bound: str
    utilization: float
    alive: list[tuple[int, str]]


def gpu() -> Accelerator:
    """The datasheet of this machine's GPUs."""
    name = torch.cuda.get_device_name().lower()
    found = [one for key, one in ACCELERATORS.items() if key in name]
    if not found:
        sys.exit(f"no datasheet of {name}: only of {', '.join(ACCELERATORS)}")
    return found[0]


def result(layout: Layout, options: argparse.Namespace) -> Result:
    device = Device.CPU if options.cpu else Device.CUDA
    spec = spec_of(layout, cpu=options.cpu, kernels=options.kernels)
    work = Training(spec=spec, steps=options.steps, alive=options.alive)
    seen = run_ranks(spec.world, work, device=device)
    whole = plan(spec)
    least = least_time(whole, cores(spec.world) if options.cpu else gpu())
    taken = min(map(max, zip(*(one.seconds for one in seen), strict=True)))
    unseen = WORKSPACE if options.cpu else 0
    return Result(
        layout=layout.name,
        predicted=[peak_memory(whole, rank).allocated - unseen for rank in range(spec.world)],
        measured=[one.peak for one in seen],
        least=least.seconds,
        taken=taken,
        bound=min(least.stages, key=least.waits).bound,
        utilization=least.utilization * least.seconds / taken,
        alive=seen[0].alive,
    )


def memory_table(found: list[Result]) -> Iterator[str]:
    yield "| layout | rank | predicted, MiB | measured, MiB | error |\n|---|---|---|---|---|"
    for one in found:
        for rank, (predicted, peak) in enumerate(zip(one.predicted, one.measured, strict=True)):
            sizes = f"{predicted / MIB:,.0f} | {peak / MIB:,.0f} | {predicted / peak - 1:+.1%}"
            yield f"| {one.layout} | {rank} | {sizes} |"


def time_table(found: list[Result]) -> Iterator[str]:
    yield "| layout | ranks | bound by | at least | measured | measured / least | MFU |"
    yield "|---|---|---|---|---|---|---|"
    for one in found:
        times = f"{duration(one.least)} | {duration(one.taken)} | {one.taken / one.least:.2f}"
        ranks = len(one.measured)
        yield f"| {one.layout} | {ranks} | {one.bound} | {times} | {one.utilization:.0%} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="on this machine's cores")
    parser.add_argument("--kernels", choices=("local", "transformer_engine"))
    parser.add_argument("--only", metavar="NAME", action="append", help="a layout by name")
    parser.add_argument("--steps", metavar="N", type=int, default=5, help="steps to time")
    parser.add_argument("--alive", action="store_true", help="say what is alive at the peak")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write the tables there")
    options = parser.parse_args()
    if options.cpu and options.alive:
        parser.error("--alive asks CUDA's allocator, and goes without --cpu")
    return options


def main() -> None:
    options = arguments()
    most = 2 if options.cpu else torch.cuda.device_count()
    found: list[Result] = []
    for layout in LAYOUTS:
        if layout.name not in (options.only or [layout.name]):
            continue
        if spec_of(layout, cpu=True).world > most:
            continue
        try:
            found.append(result(layout, options))
        except RunError as error:
            print(f"{layout.name}: {error}", file=sys.stderr, flush=True)
            continue
        print(found[-1][:-1], file=sys.stderr, flush=True)
        for size, place in found[-1].alive:
            print(f"{size / MIB:9,.0f} MiB  {place}", file=sys.stderr, flush=True)
    machine = "No GPU" if options.cpu else torch.cuda.get_device_name()
    for name, table in (("memory", memory_table(found)), ("step_time", time_table(found))):
        text = "\n".join([f"{machine}. {where()}\n", *table]) + "\n"
        print(text)
        if options.out:
            (options.out / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
