"""`mimodsl verify`: proves on this machine that a layout computes the model."""

import argparse
import sys
from typing import Any

from mimodsl.cli import options

_EPILOG = """\
Trains the model on one rank and on the spec's ranks, from the same weights and on the same
samples, and compares losses, activations, gradients and weights. A large spec is shrunk to laptop
widths first; its layout and its kinds of layers stay. On GPUs, every rank has one of its own.

Exits with 0 where the two agree, and with 1 where they differ, the spec has mistakes or a rank
fails."""
_STEPS = 2
_TOLERANCE = 1e-3


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
        help="what both runs compute on (default: cpu)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=options.positive,
        default=_STEPS,
        help=f"training steps (default: {_STEPS})",
    )
    parser.add_argument(
        "--full-size", action="store_true", help="keep the spec's own widths, layers and batch"
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=_fraction,
        default=_TOLERANCE,
        help=f"relative distance that counts as rounding (default: {_TOLERANCE:g})",
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

    spec = specs.sound_spec(args)
    return trouble.FAILURE if spec is None else _verify(spec, args)


def _verify(spec: Any, args: argparse.Namespace) -> int:
    from mimodsl.cli import terminal, trouble
    from mimodsl.runtime.launch import Device
    from mimodsl.runtime.verify.shrink import NotComparable, changes
    from mimodsl.runtime.verify.verify import prepared, verify
    from mimodsl.runtime.workers import Watch
    from mimodsl.show import verdict
    from mimodsl.show.progress import Progress

    try:
        run = prepared(spec, full_size=args.full_size)
    except NotComparable as error:
        raise trouble.UsageError(str(error)) from error
    with terminal.lasting_console(sys.stderr if args.json else sys.stdout) as console:
        verdict.show_changes(changes(spec, run), console)
        progress = Progress(console=console)
        watch = Watch(
            timeout=args.timeout or options.TIMEOUT, observer=progress, verbose=args.verbose
        )
        with progress.shown():
            done = verify(
                spec,
                run,
                steps=args.steps,
                tolerance=args.tolerance,
                device=Device(args.device),
                watch=watch,
            )
        if not args.json:
            verdict.show(done, console)
    if args.json:
        terminal.print_json(verdict.document(done, str(args.spec)))
    return 0 if done.verdict.equal else trouble.FAILURE
