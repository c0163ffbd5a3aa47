"""`mimodsl build`: builds a spec on its ranks and trains it, or builds it on the meta device."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options
from mimodsl.runtime.request import EVAL_STEPS, STEPS

if TYPE_CHECKING:
    from mimodsl.ir.spec import Spec
    from mimodsl.runtime.request import TrainRequest

_EPILOG = """\
Outside a launcher the spec's whole world is started on this machine: over NCCL where there are
enough GPUs, else as CPU processes over gloo where cores and memory suffice. Under torchrun (RANK is
set) this process is one rank.

A world that this machine has no room for is built on the meta device: in this one process, one rank
of every role, with the shapes, the number of parameters and the process groups of the real one, and
no memory. So is any world with --device meta. Nothing is trained there: an option of training makes
auto fail rather than choose it.

Exits with 1 where the spec has mistakes, a checkpoint does not fit or a rank fails, and after
Ctrl-C."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "build",
        _run,
        help="build a spec on its ranks and train it",
        epilog=_EPILOG,
    )
    options.add_spec(parser)
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "meta"),
        default="auto",
        help="what the ranks compute on; meta builds without training (default: auto)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=options.natural,
        help="training steps, those before a loaded checkpoint not counted; 0 builds, loads and "
        f"saves only (default: {STEPS})",
    )
    parser.add_argument(
        "--seed", metavar="N", type=options.natural, help="in place of the spec's own seed"
    )
    parser.add_argument(
        "--data",
        metavar="MODULE:FUNCTION",
        help="train on the samples (mimodsl.data.Data) that a function gives for the spec; modules "
        "are found from the working directory, too (default: synthetic samples)",
    )
    _add_checkpoints(parser.add_argument_group("checkpoints"))
    _add_watching(parser.add_argument_group("what a run shows"))
    parser.add_argument(
        "--no-shared-groups",
        dest="share_groups",
        action="store_false",
        default=argparse.SUPPRESS,
        help="make a process group for every name, as Megatron-Core does, where names of the same "
        "ranks share one else",
    )
    options.add_run(parser)
    options.add_set(parser)


def _add_checkpoints(group: Any) -> None:
    """Where a run begins, and what it leaves behind."""
    group.add_argument(
        "--save",
        metavar="DIR",
        type=Path,
        help="save a checkpoint after the last step, in a folder of checkpoints",
    )
    group.add_argument(
        "--save-every",
        metavar="N",
        type=options.positive,
        help="save one after every N-th step, too",
    )
    group.add_argument(
        "--load",
        metavar="DIR",
        type=Path,
        help="go on from a checkpoint, or from the latest in a folder of them, in whatever layout",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on from the latest checkpoint in the folder of --save, if it has one, and count "
        "its steps in --steps: the same command again ends a run that broke off",
    )


def _add_watching(group: Any) -> None:
    """What a run shows of itself, beside its steps."""
    group.add_argument(
        "--eval-every",
        metavar="N",
        type=options.positive,
        help="evaluate on held-out samples after every N-th step and the last: loss and accuracy",
    )
    group.add_argument(
        "--eval-steps",
        metavar="M",
        type=options.positive,
        help=f"evaluate on as many samples as M steps have (default: {EVAL_STEPS})",
    )
    group.add_argument(
        "--log-dir",
        metavar="DIR",
        type=Path,
        help="write all curves for TensorBoard (needs the extra `log`)",
    )
    group.add_argument(
        "--profile",
        metavar="DIR",
        type=Path,
        help="trace a step with torch's profiler, for chrome://tracing and ui.perfetto.dev",
    )
    group.add_argument(
        "--profile-steps",
        metavar="A:B",
        type=options.span,
        help="trace steps A to B of this run, counted from 1 (default: the second)",
    )
    group.add_argument(
        "--profile-ranks",
        metavar="R,R",
        type=options.numbers,
        help="trace these ranks (default: one of every role)",
    )


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import specs, trouble
    from mimodsl.runtime.request import TrainRequest

    request = options.request(TrainRequest, args)
    spec = specs.sound_spec(args)
    return trouble.FAILURE if spec is None else _train(spec, request, args)


def _train(spec: Spec, request: TrainRequest, args: argparse.Namespace) -> int:
    from mimodsl.cli import terminal
    from mimodsl.runtime.launcher import is_first
    from mimodsl.runtime.run import train_or_build
    from mimodsl.show import outcome
    from mimodsl.show.progress import Progress

    with terminal.lasting_console(sys.stderr if args.json else sys.stdout) as console:
        progress = Progress(console=console)
        with progress.shown():
            run = train_or_build(spec, request, observer=progress, verbose=args.verbose)
        if is_first() and not args.json:
            outcome.show(run, console)
    if is_first() and args.json:
        terminal.print_json(outcome.document(run, str(args.spec)))
    return 0
