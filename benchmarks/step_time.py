"""Holds the least time of a step that `mimodsl plan --gpu` states against what training takes.

    python benchmarks/step_time.py            on as many GPUs as there are, at sizes that fill them
    python benchmarks/step_time.py --cpu      on this machine's cores, at small sizes

The layouts are those of memory.py; those of more ranks than there are GPUs are left out. A GPU's
limits are its datasheet's. Cores have none: as many processes as the layout has ranks multiply
matrices, copy and send at once, and the best of it is taken for what a rank can do. The table goes
to standard output, and with --out to a file.
"""

import sys
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, NamedTuple

import torch
import torch.distributed as dist
from attrs import frozen
from measured import where
from memory import CPU, GPU, Layout, arguments, over_layouts, spec_of, write

from mimodsl import Spec
from mimodsl.build.assembly import assemble
from mimodsl.plan import plan
from mimodsl.plan.show.time import duration
from mimodsl.plan.time import ACCELERATORS, Accelerator, least_time
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.launch import Device, run_ranks
from mimodsl.runtime.train import Rank

WARM: Final = 2
"""Steps before those that are measured."""


@frozen(kw_only=True)
class Steps:
    """The work of one rank: to build a checked spec and train it, each step's seconds told."""

    spec: Spec
    steps: int

    def __call__(self, rank: Rank) -> list[float]:
        assembly, data = assemble(self.spec), SyntheticData(spec=self.spec)
        taken: list[float] = []
        for step in range(WARM + self.steps):
            rank.phase(f"step {step + 1}")
            samples = list(microbatches(data, step, assembly.process_groups))
            taken.append(_seconds(lambda samples=samples: assembly.train_step(samples)))
        return taken[WARM:]


def _seconds(action: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    dist.barrier()
    start = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return time.perf_counter() - start


class Speeds(NamedTuple):
    """What one of several processes does in a second: operations in fp32 and bf16, and bytes."""

    single: float
    half: float
    copied: float
    sent: float


def speeds(_: Rank) -> Speeds:
    """The work of one rank: to be as fast as it can at one thing after the other."""

    def product(dtype: torch.dtype) -> float:
        a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
        return 2 * 1024**3 / min(_seconds(lambda: a @ b) for _ in range(8))

    def copy(size: int) -> float:
        a, b = torch.zeros(size, dtype=torch.uint8), torch.ones(size, dtype=torch.uint8)
        return 2 * size / min(_seconds(lambda: a.copy_(b)) for _ in range(16))

    def send(size: int) -> float:
        if dist.get_world_size() == 1:
            return inf
        a = torch.zeros(size, dtype=torch.uint8)
        return size / min(_seconds(lambda: dist.broadcast(a, 0)) for _ in range(8))

    sizes = 2**20, 2**22, 2**26
    return Speeds(
        single=product(torch.float32),
        half=product(torch.bfloat16),
        copied=max(map(copy, sizes)),
        sent=max(map(send, sizes)),
    )


def cores(ranks: int) -> Accelerator:
    """What this machine's cores are to each of that many ranks."""
    found = run_ranks(ranks, speeds, device=Device.CPU)
    single, half, copied, sent = (max(one) for one in zip(*found, strict=True))
    return Accelerator(
        name=f"a core, one of {ranks} ranks",
        half=half,
        single=single,
        memory=0,
        bandwidth=copied,
        link=sent,
        network=sent,
        source="measured",
    )


def gpu() -> Accelerator:
    """The datasheet of this machine's GPUs."""
    name = torch.cuda.get_device_name().lower()
    found = [one for key, one in ACCELERATORS.items() if key in name]
    if not found:
        sys.exit(f"no datasheet of {name}: only of {', '.join(ACCELERATORS)}")
    return found[0]


class Result(NamedTuple):
    """A layout's least time, what a step took, and what bounds its slowest stage."""

    layout: str
    ranks: int
    bound: str
    least: float
    taken: float
    utilization: float


def result(layout: Layout, device: Device, steps: int) -> Result:
    spec = spec_of(layout, CPU if device is Device.CPU else GPU)
    limits = cores(spec.world) if device is Device.CPU else gpu()
    least = least_time(plan(spec), limits)
    by_rank = run_ranks(spec.world, Steps(spec=spec, steps=steps), device=device)
    taken = min(map(max, zip(*by_rank, strict=True)))
    slowest = min(least.stages, key=least.waits)
    reached = least.utilization * least.seconds / taken
    return Result(layout.name, spec.world, slowest.bound, least.seconds, taken, reached)


def table(device: Device, found: list[Result], steps: int) -> Iterator[str]:
    machine = torch.cuda.get_device_name() if device is Device.CUDA else "No GPU"
    yield f"{machine}. {where()} The best of {steps} steps.\n"
    yield "| layout | ranks | bound by | at least | measured | measured / least | MFU |"
    yield "|---|---|---|---|---|---|---|"
    for one in found:
        times = f"{duration(one.least)} | {duration(one.taken)} | {one.taken / one.least:.2f}"
        yield f"| {one.layout} | {one.ranks} | {one.bound} | {times} | {one.utilization:.0%} |"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", metavar="N", type=int, default=5, help="steps to measure")
    args = parser.parse_args()
    device = Device.CPU if args.cpu else Device.CUDA
    found = over_layouts(device, lambda layout: [result(layout, device, args.steps)])
    write(table(device, found, args.steps), args.out)


if __name__ == "__main__":
    main()
