"""`mimodsl build`: builds a spec on its ranks and trains it for some steps."""

import argparse
import sys
from typing import Any

from mimodsl.cli import options

_EPILOG = """\
Outside a launcher the spec's whole world is started on this machine: over NCCL where there are
enough GPUs, else as CPU processes over gloo. Under torchrun (RANK is set) this process is one rank.

Exits with 1 where the spec has mistakes, a rank fails, or after Ctrl-C."""
_TIMEOUT = 300.0


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "build",
        _run,
        help="build a spec on its ranks and train it on synthetic data",
        epilog=_EPILOG,
    )
    parser.add_argument("spec", metavar="SPEC", type=options.spec_file)
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what the ranks compute on (default: auto)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=options.natural,
        default=10,
        help="training steps; 0 builds only (default: 10)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=options.natural, help="in place of the spec's own seed"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=options.seconds,
        default=_TIMEOUT,
        help=f"end a run in which no rank moves for so long (default: {_TIMEOUT:g})",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document; progress goes to standard error",
    )
    options.add_set(parser)


def _run(args: argparse.Namespace) -> int:
    import attrs

    from mimodsl.cli import specs, trouble

    spec = specs.sound_spec(args)
    if spec is None:
        return trouble.FAILURE
    if args.seed is not None:
        spec = attrs.evolve(spec, train=attrs.evolve(spec.train, seed=args.seed))
    return _train(spec, args)


def _train(spec: Any, args: argparse.Namespace) -> int:
    import json

    from mimodsl.cli import terminal
    from mimodsl.runtime import summary
    from mimodsl.runtime.progress import Progress
    from mimodsl.runtime.run import DeviceChoice, is_first, run
    from mimodsl.runtime.workers import Watch

    with terminal.lasting_console(sys.stderr if args.json else sys.stdout) as console:
        progress = Progress(console=console)
        watch = Watch(timeout=args.timeout, observer=progress, verbose=args.verbose)
        with progress.shown():
            done = run(spec, steps=args.steps, choice=DeviceChoice(args.device), watch=watch)
        if is_first() and not args.json:
            summary.show(done, console)
    if is_first() and args.json:
        print(json.dumps(summary.as_json(done, str(args.spec)), indent=2))
    return 0
