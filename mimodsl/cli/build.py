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
Without a launcher, this command starts all ranks of the spec on this machine: over NCCL if there
are enough GPUs, otherwise as CPU processes over gloo if there are enough cores and memory. Under
torchrun (RANK is set), this process is one rank.

If this machine has no room for all ranks, or with --device meta, the command builds on the meta
device: one rank of each role, in this process, with the real shapes, parameter counts and process
groups, but without memory. It trains nothing there. With an option for training, auto fails instead
of choosing meta.

The exit code is 1 if the spec has mistakes, a checkpoint does not fit or a rank fails, and after
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
        help="training steps, added to those of a loaded checkpoint; 0 only builds, loads and "
        f"saves (default: {STEPS})",
    )
    parser.add_argument(
        "--seed", metavar="N", type=options.natural, help="use this seed instead of the spec's"
    )
    parser.add_argument(
        "--data",
        metavar="MODULE:FUNCTION",
        help="train on the samples (mimodsl.data.Data) that a function returns for the spec; "
        "Python also looks for the module in the working directory (default: synthetic samples)",
    )
    _add_checkpoints(parser.add_argument_group("checkpoints"))
    _add_observation(parser.add_argument_group("evaluation, logs and traces"))
    parser.add_argument(
        "--no-shared-groups",
        dest="share_groups",
        action="store_false",
        default=argparse.SUPPRESS,
        help="make a process group for each name, as Megatron-Core does; without this option, "
        "names with the same ranks share one",
    )
    options.add_run(parser)
    options.add_set(parser)


def _add_checkpoints(group: Any) -> None:
    """Options for saving and loading checkpoints."""
    group.add_argument(
        "--save",
        metavar="DIR",
        type=Path,
        help="save a checkpoint after the last step, in this folder of checkpoints",
    )
    group.add_argument(
        "--save-every",
        metavar="N",
        type=options.positive,
        help="also save a checkpoint after every N-th step",
    )
    group.add_argument(
        "--load",
        metavar="DIR",
        type=Path,
        help="continue from a checkpoint in any layout, or from the latest one in a folder",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue from the latest checkpoint in the folder of --save, if there is one; its "
        "steps count in --steps, so the same command finishes a run that stopped early",
    )


def _add_observation(group: Any) -> None:
    """Options for evaluation, logs and traces."""
    group.add_argument(
        "--eval-every",
        metavar="N",
        type=options.positive,
        help="measure loss and accuracy on held-out samples after every N-th step and the last one",
    )
    group.add_argument(
        "--eval-steps",
        metavar="M",
        type=options.positive,
        help=f"evaluate on as many samples as M training steps have (default: {EVAL_STEPS})",
    )
    group.add_argument(
        "--log-dir",
        metavar="DIR",
        type=Path,
        help="write all curves for TensorBoard to this folder (needs the extra `log`)",
    )
    group.add_argument(
        "--profile",
        metavar="DIR",
        type=Path,
        help="trace a step with torch's profiler to this folder, for chrome://tracing or "
        "ui.perfetto.dev",
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
        help="trace these ranks (default: one of each role)",
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
