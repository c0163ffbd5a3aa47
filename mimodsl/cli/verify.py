"""`mimodsl verify`: compares training on a layout with training on one rank."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options
from mimodsl.runtime.verify.request import STEPS, TOLERANCE, VerifyRequest

if TYPE_CHECKING:
    from mimodsl.ir.spec import Spec

_EPILOG = """\
The command trains the model on one rank and on the spec's ranks, from the same weights and on the
same samples, and compares losses, activations, gradients and weights. It first shrinks a large spec
to the size of a laptop; the layout and the kinds of layers stay. On CUDA, each rank needs a GPU.

The exit code is 0 if the two runs agree, and 1 if they differ, the spec has mistakes or a rank
fails."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "verify",
        _run,
        help="train a spec on one rank and on its layout, and compare the two",
        epilog=_EPILOG,
    )
    options.add_spec(parser)
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="the device of both runs (default: cpu)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=options.positive,
        default=STEPS,
        help=f"training steps (default: {STEPS})",
    )
    parser.add_argument(
        "--full-size", action="store_true", help="keep the widths, layers and batch of the spec"
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=_fraction,
        default=TOLERANCE,
        help=f"largest relative difference that counts as rounding (default: {TOLERANCE:g})",
    )
    options.add_run(parser)
    options.add_set(parser)


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text!r}")
    return number


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import specs, trouble

    request = options.request(VerifyRequest, args)
    spec = specs.sound_spec(args)
    return trouble.FAILURE if spec is None else _verify(spec, request, args)


def _verify(spec: Spec, request: VerifyRequest, args: argparse.Namespace) -> int:
    from mimodsl.cli import terminal, trouble
    from mimodsl.planner.device import Device
    from mimodsl.runtime.verify.shrink import NotComparable, changes
    from mimodsl.runtime.verify.verify import prepared, verify
    from mimodsl.runtime.workers import Watch
    from mimodsl.show import verdict
    from mimodsl.show.progress import Progress

    try:
        run = prepared(spec, full_size=request.full_size)
    except NotComparable as error:
        raise trouble.UsageError(str(error)) from error
    with terminal.lasting_console(sys.stderr if args.json else sys.stdout) as console:
        verdict.show_changes(changes(spec, run), console)
        progress = Progress(console=console)
        with progress.shown():
            verification = verify(
                spec,
                run,
                steps=request.steps,
                tolerance=request.tolerance,
                device=Device(request.device),
                watch=Watch.over(timeout=request.timeout, observer=progress, verbose=args.verbose),
            )
        if not args.json:
            verdict.show(verification, console)
    if args.json:
        terminal.print_json(verdict.document(verification, str(args.spec)))
    return 0 if verification.verdict.equal else trouble.FAILURE
