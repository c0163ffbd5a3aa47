"""Holds the memory that `mimodsl plan` predicts against what training allocates, rank by rank.

    python benchmarks/memory.py            on as many GPUs as there are, at sizes that fill them
    python benchmarks/memory.py --cpu      on this machine's cores, at small sizes

On GPUs the truth is `torch.cuda.max_memory_allocated`; on a CPU it is the most bytes of tensors
alive at a time, and cuBLAS's workspace is left out of the prediction. Layouts of more ranks than
there are GPUs are left out. The table goes to standard output, and with --out to a file.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from measured import where

from mimodsl import Spec, check, parse
from mimodsl.diagnostics import Severity
from mimodsl.plan import plan
from mimodsl.plan.memory import peak_memory
from mimodsl.plan.memory.peak import WORKSPACE
from mimodsl.runtime.allocated import PeakOfTraining
from mimodsl.runtime.launch import Device, run_ranks

MIB: Final = 2**20

LANGUAGE: Final = """\
module language : hybrid {{
  grid       = llm
  hidden     = {hidden}
  vocabulary = {vocabulary}
  norm       = {norm}
  pattern    = "{pattern}"
  recompute  = {recompute}
  mamba      = {{ heads = {heads}, head_dim = 64, state = 128, groups = 8 }}
  attention  = {{ heads = {heads}, head_dim = 64 }}
  moe        = {{
    experts = {experts}, topk = 2, ffn = {hidden}, shared_ffn = {hidden}, score = sigmoid,
    expert_bias = true, balance = seq_aux_loss, aux_loss = 1e-4, router_dtype = fp32
  }}
}}
schedule {schedule} {{
  sequence     = {sequence}
  micro_batch  = {micro_batch}
  microbatches = {microbatches}
}}
train {{
  precision = bf16
  kernels   = {kernels}
}}
"""

VISION: Final = """\
module vision : radio {{
  grid       = encoder
  layers     = {vision_layers}
  hidden     = {vision_hidden}
  heads      = 8
  ffn        = {vision_ffn}
  image      = 256x256
  max_image  = 512x512
  activation = gelu
  frozen     = {frozen}
}}
module projector : mlp_projector {{
  grid       = encoder
  norm       = {norm}
  activation = squared_relu
}}
flow vision -> projector -> language {{
  token  = 1
  images = 2
}}
"""

# Mamba's and RMSNorm's kernels of a GPU have stand-ins on a CPU that keep other tensors.
CPU: Final[dict[str, object]] = {
    "hidden": 256, "vocabulary": 4096, "norm": "layernorm", "pattern": "*E-*E-*E-*E-", "heads": 4,
    "experts": 8, "sequence": 768, "micro_batch": 2, "microbatches": 1, "recompute": "none",
    "schedule": "no_pipelining", "kernels": "local", "vision_layers": 4, "vision_hidden": 128,
    "vision_ffn": 512, "frozen": "false",
}  # fmt: skip
GPU: Final = CPU | {
    "hidden": 2048, "vocabulary": 131072, "norm": "rmsnorm", "pattern": "MEM*EMEM*EME", "heads": 64,
    "experts": 16, "sequence": 4096, "vision_layers": 24, "vision_hidden": 1024,
    "vision_ffn": 4096, "kernels": "auto",
}  # fmt: skip


class Layout(NamedTuple):
    """A layout: its grids and whether it sees, and the values in which it differs."""

    name: str
    grids: str
    sees: bool = False
    values: dict[str, object] = {}  # noqa: RUF012 - never changed


LAYOUTS: Final = (
    Layout("one rank", "grid llm { dense = dp:1\n expert = ep:1 * pp }"),
    Layout(
        "one rank, recompute full",
        "grid llm { dense = dp:1\n expert = ep:1 * pp }",
        values={"recompute": "full"},
    ),
    Layout("tp 2, ep 2", "grid llm { dense = tp:2\n expert = ep:2 * pp }"),
    Layout("dp 2, ep 1", "grid llm { dense = dp:2\n expert = ep:1 * edp:2 * pp }"),
    Layout(
        "pp 2",
        "grid llm { dense = pp:2\n expert = ep:1 * pp }",
        values={"schedule": "1f1b", "microbatches": 4},
    ),
    Layout(
        "colocated, one rank",
        "grid encoder { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place encoder & llm",
        sees=True,
    ),
    Layout(
        "colocated, encoder frozen",
        "grid encoder { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place encoder & llm",
        sees=True,
        values={"frozen": "true"},
    ),
    Layout(
        "non-colocated, 1 + 1",
        "grid encoder { dense = dp:1 }\ngrid llm { dense = dp:1\n expert = ep:1 * pp }\n"
        "place encoder | llm",
        sees=True,
        values={"schedule": "1f1b", "microbatches": 3},
    ),
)


class Result(NamedTuple):
    """A rank's bytes, as they were predicted and as they were."""

    layout: str
    rank: int
    predicted: int
    measured: int

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def spec_of(layout: Layout, sizes: dict[str, object]) -> Spec:
    """The checked spec of a layout at these sizes."""
    values = sizes | layout.values
    text = LANGUAGE.format(**values)
    if layout.sees:
        text = VISION.format(**values) + text
    spec = parse(f"{layout.grids}\n{text}")
    errors = [one.message for one in check(spec) if one.severity is Severity.ERROR]
    assert not errors, errors
    return spec


def results(layout: Layout, device: Device) -> Iterator[Result]:
    spec = spec_of(layout, CPU if device is Device.CPU else GPU)
    whole = plan(spec)
    unseen = WORKSPACE if device is Device.CPU else 0
    for rank, size in enumerate(run_ranks(spec.world, PeakOfTraining(spec=spec), device=device)):
        yield Result(layout.name, rank, peak_memory(whole, rank).allocated - unseen, size)


def table(device: Device, found: list[Result]) -> Iterator[str]:
    import torch

    machine = torch.cuda.get_device_name() if device is Device.CUDA else "No GPU"
    yield f"{machine}. {where()}\n"
    yield "| layout | rank | predicted, MiB | measured, MiB | error |\n|---|---|---|---|---|"
    for one in found:
        sizes = f"{one.predicted / MIB:,.0f} | {one.measured / MIB:,.0f}"
        yield f"| {one.layout} | {one.rank} | {sizes} | {one.error:+.1%} |"


def arguments(about: str | None) -> argparse.ArgumentParser:
    """What a benchmark over the layouts takes on its command line, by its docstring."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="on this machine's cores")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the table to this file")
    return parser


def over_layouts[R](device: Device, measure: Callable[[Layout], Iterable[R]]) -> list[R]:
    """What is measured of every layout that has as many GPUs as ranks; on a CPU of all of them."""
    import torch

    most = len(LAYOUTS) if device is Device.CPU else torch.cuda.device_count()
    found: list[R] = []
    for layout in LAYOUTS:
        if spec_of(layout, CPU).world <= most:
            found += measure(layout)
            print(found[-1], file=sys.stderr, flush=True)
    return found


def write(table: Iterable[str], out: Path | None) -> None:
    """Print a table, and write it to a file where there is one."""
    text = "\n".join(table) + "\n"
    print(text)
    if out:
        out.write_text(text)


def main() -> None:
    args = arguments(__doc__).parse_args()
    device = Device.CPU if args.cpu else Device.CUDA
    found = over_layouts(device, lambda layout: results(layout, device))
    write(table(device, found), args.out)


if __name__ == "__main__":
    main()
