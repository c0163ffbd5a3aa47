"""What scripts under torchrun have in common: specs at a precision, and a rank of a world."""

import argparse
import os
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import torch
import torch.distributed as dist

import mimodsl
from mimodsl.ir import Spec
from mimodsl.ir.train import Kernels, Precision


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("specs", type=Path, nargs="+", metavar="SPEC")
    made.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    made.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    made.add_argument("--kernels", choices=tuple(Kernels), action="append", help="one or several")
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    return made


def specs_of(options: argparse.Namespace) -> Iterator[tuple[str, Spec]]:
    """Every spec with each of the kernel sets, and what it is called: in one process after the
    other, since the first to come tunes the kernels of all."""
    settings = dict(part.split("=", 1) for part in options.set)
    for path in options.specs:
        for kernels in options.kernels or [Kernels.AUTO]:
            spec = mimodsl.load(path, settings)
            precision = Precision(options.precision)
            train = attrs.evolve(spec.train, precision=precision, kernels=Kernels(kernels))
            yield f"{path.stem}-{kernels}", attrs.evolve(spec, train=train)


@contextmanager
def member(options: argparse.Namespace) -> Generator[None]:
    """This process as a rank of the world that torchrun has started, for the length of a block."""
    warnings.simplefilter("ignore")
    with ExitStack() as stack:
        if options.device == "cpu":
            from mimodsl.megatron.cpu import backend

            stack.enter_context(backend.activate())
        else:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("gloo" if options.device == "cpu" else "nccl")
        yield
        dist.destroy_process_group()
