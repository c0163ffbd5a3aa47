"""`mimodsl build`: builds a spec on its ranks and trains it for some steps."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mimodsl.cli import options

_EPILOG = """\
Outside a launcher the spec's whole world is started on this machine: over NCCL where there are
enough GPUs, else as CPU processes over gloo. Under torchrun (RANK is set) this process is one rank.

Exits with 1 where the spec has mistakes, a checkpoint does not fit or a rank
fails, and after Ctrl-C."""
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
        help="training steps, those before a loaded checkpoint not counted; 0 builds, loads and "
        "saves only (default: 10)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=options.natural, help="in place of the spec's own seed"
    )
    parser.add_argument(
        "--save",
        metavar="DIR",
        type=Path,
        help="save a checkpoint after the last step, in a folder of checkpoints",
    )
    parser.add_argument(
        "--save-every",
        metavar="N",
        type=options.positive,
        help="save one after every N-th step, too",
    )
    parser.add_argument(
        "--load",
        metavar="DIR",
        type=Path,
        help="go on from a checkpoint, or from the latest in a folder of them, in whatever layout",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the latest checkpoint in the folder of --save, if it has one, and count "
        "its steps in --steps: the same command again ends a run that broke off",
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

    if args.save_every and not args.save:
        raise trouble.UsageError("--save-every needs --save DIR, which says where to")
    if args.resume and (args.load or not args.save):
        raise trouble.UsageError("--resume goes on from the folder of --save DIR: not from --load")
    spec = specs.sound_spec(args)
    if spec is None:
        return trouble.FAILURE
    if args.seed is not None:
        spec = attrs.evolve(spec, train=attrs.evolve(spec.train, seed=args.seed))
    return _train(spec, args)


def _training(spec: Any, args: argparse.Namespace) -> Any:
    """What each rank is to do; a resumed run that has all its steps only builds and loads."""
    from mimodsl.runtime.checkpoint.fit import checkpoint_for, checkpoint_to_resume
    from mimodsl.runtime.train import Saving, Training

    start, steps, saves = None, args.steps, args.save is not None
    if args.load:
        start = checkpoint_for(spec, args.load)
    elif args.resume and (start := checkpoint_to_resume(spec, args.save)):
        steps = max(0, steps - start.manifest.step)
        saves = steps > 0
    return Training(
        spec=spec,
        steps=steps,
        start=start,
        saving=Saving(folder=args.save, every=args.save_every) if saves else None,
    )


def _train(spec: Any, args: argparse.Namespace) -> int:
    import json

    from mimodsl.cli import terminal
    from mimodsl.runtime import summary
    from mimodsl.runtime.progress import Progress
    from mimodsl.runtime.run import DeviceChoice, is_first, run
    from mimodsl.runtime.workers import Watch

    training = _training(spec, args)
    with terminal.lasting_console(sys.stderr if args.json else sys.stdout) as console:
        progress = Progress(console=console)
        watch = Watch(timeout=args.timeout, observer=progress, verbose=args.verbose)
        with progress.shown():
            done = run(training, choice=DeviceChoice(args.device), watch=watch)
        if is_first() and not args.json:
            summary.show(done, console)
    if is_first() and args.json:
        print(json.dumps(summary.as_json(done, str(args.spec)), indent=2))
    return 0
