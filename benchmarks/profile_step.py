"""Where the time of a training step goes on one rank, and where the host waits for the device.

    torchrun --nproc-per-node 2 benchmarks/profile_step.py benchmarks/gpu_specs/*.mimo

Prints, for the first rank, how much of the step the device was busy, its kernels by time, what the
host does by time, and the lines of Python that read something back from the device.
"""

import argparse
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, override

import on_rank
import torch
import torch.distributed as dist
from by_hand_measure import timed
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "repeat_interleave.Tensor")
"""Operators that need numbers on the host before the next one can be launched."""


class Waits(TorchDispatchMode):
    """Counts the places that wait for the device, by the innermost lines that are not torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        if (name.startswith(WAITS) and args[0].is_cuda) or _copies_back(name, args, kwargs or {}):
            self.places[_place(name)] += 1
        return func(*args, **(kwargs or {}))


def _copies_back(name: str, args: Any, kwargs: Any) -> bool:
    if not name.startswith("_to_copy") or not args[0].is_cuda:
        return False
    return str(kwargs.get("device")) == "cpu"


def _place(name: str) -> str:
    frames = [f for f in traceback.extract_stack() if "/torch/" not in f.filename]
    own = [f for f in frames if not f.filename.endswith(("profile_step.py", "runtime/cpu.py"))][-2:]
    lines = [f"{'/'.join(Path(f.filename).parts[-3:])}:{f.lineno}" for f in reversed(own)]
    return f"{name} at {' from '.join(lines)}"


def busy(events: Any) -> tuple[float, float]:
    """Milliseconds in which any kernel ran, and from the first's start to the last's end."""
    spans = sorted(
        (e.time_range.start, e.time_range.end)
        for e in events
        if e.device_type == torch.autograd.DeviceType.CUDA
    )
    if not spans:
        return 0.0, 0.0
    total, reached = 0.0, spans[0][0]
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e3, (reached - spans[0][0]) / 1e3


def report(found: Any, waits: Waits, top: int) -> None:
    averages = found.key_averages()
    on_gpu = torch.cuda.is_available()
    ran, whole = busy(found.events())
    if on_gpu:
        print(f"the device was busy for {ran:.1f} of {whole:.1f} ms")
    for key in ("self_device_time_total", "self_cpu_time_total")[not on_gpu :]:
        print(averages.table(sort_by=key, row_limit=top, max_name_column_width=70))
    print(f"the host waits {waits.places.total()} times a step")
    for place, count in waits.places.most_common(top):
        print(f"{count:5d}  {place}")


def main() -> None:
    parser = on_rank.parser(__doc__)
    parser.add_argument("--warm", type=int, default=3, help="steps before the one that is seen")
    parser.add_argument("--top", type=int, default=25, help="rows of each table")
    options = parser.parse_args()
    with on_rank.member(options):
        for title, spec in on_rank.specs_of(options):
            _run(title, spec, options)


def _run(title: str, spec: Any, options: argparse.Namespace) -> None:
    from mimodsl.builder.assembly import assemble
    from mimodsl.runtime.data import SyntheticData, microbatches

    assembly = assemble(spec)
    samples = list(microbatches(SyntheticData(spec=spec), 0, assembly.process_groups))
    for _ in range(options.warm):
        assembly.train_step(samples)
    alone = min(timed(lambda: assembly.train_step(samples))[0] for _ in range(3))
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as found:
        assembly.train_step(samples)
        torch.cuda.synchronize()
    waits = Waits()
    with waits:
        assembly.train_step(samples)
    if dist.get_rank() == 0:
        print(f"\n{title}: a step takes {1e3 * alone:.1f} ms, and longer with the profiler")
        report(found, waits, options.top)
    dist.barrier()


if __name__ == "__main__":
    main()
