"""`mimodsl build`: builds a spec on its ranks and trains it, or builds it on the meta device."""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from mimodsl.cli import options

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
_STEPS = 10
_EVAL_STEPS = 4

_OF_TRAINING = (
    *("steps", "seed", "data", "save", "save_every", "load", "resume", "eval_every", "eval_steps"),
    *("log_dir", "profile", "profile_steps", "profile_ranks", "no_shared_groups", "timeout"),
)


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
        f"saves only (default: {_STEPS})",
    )
    parser.add_argument(
        "--seed", metavar="N", type=options.natural, help="in place of the spec's own seed"
    )
    parser.add_argument(
        "--data",
        metavar="MODULE:FUNCTION",
        type=options.qualified,
        help="train on the samples (mimodsl.data.Data) that a function gives for the spec; modules "
        "are found from the working directory, too (default: synthetic samples)",
    )
    _add_checkpoints(parser.add_argument_group("checkpoints"))
    _add_watching(parser.add_argument_group("what a run shows"))
    parser.add_argument(
        "--no-shared-groups",
        action="store_true",
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
        help=f"evaluate on as many samples as M steps have (default: {_EVAL_STEPS})",
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
    import attrs

    from mimodsl.cli import specs, trouble

    if args.save_every and not args.save:
        raise trouble.UsageError("--save-every needs --save DIR, which says where to")
    if args.resume and (args.load or not args.save):
        wrong = "is not for --load" if args.load else "needs one"
        raise trouble.UsageError(f"--resume goes on from the folder of --save DIR, and {wrong}")
    if args.eval_steps and not args.eval_every:
        raise trouble.UsageError("--eval-steps needs --eval-every N, which says when")
    if (args.profile_steps or args.profile_ranks) and not args.profile:
        raise trouble.UsageError("--profile-steps and --profile-ranks need --profile DIR")
    if args.log_dir:
        import_module("tensorboard")  # said here if it is missing, before any rank starts
    if args.device == "meta":
        _refuse_training(args)
    spec = specs.sound_spec(args)
    if spec is None:
        return trouble.FAILURE
    if args.seed is not None:
        spec = attrs.evolve(spec, train=attrs.evolve(spec.train, seed=args.seed))
    return _train(spec, args)


def _given_for_training(args: argparse.Namespace) -> list[str]:
    """The options given that only a run which trains, loads or saves has a use for."""
    given = {name: getattr(args, name) for name in _OF_TRAINING}
    if not args.steps:
        del given["steps"]
    return [
        f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if value is not None and value is not False
    ]


def _refuse_training(args: argparse.Namespace) -> None:
    from mimodsl.cli import trouble
    from mimodsl.runtime.run import under_launcher

    if given := _given_for_training(args):
        raise trouble.UsageError(f"--device meta trains nothing, and has no use for {given[0]}")
    if under_launcher():
        raise trouble.UsageError(
            "--device meta builds all roles in this one process: start it without a launcher"
        )


def _training(spec: Any, args: argparse.Namespace) -> Any:
    """What each rank is to do; a resumed run that has all its steps only builds and loads."""
    from mimodsl.runtime.checkpoint.fit import checkpoint_for, checkpoint_to_resume
    from mimodsl.runtime.train import Evaluating, Saving, Training

    start, steps = None, _STEPS if args.steps is None else args.steps
    saves = args.save is not None
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
        share_groups=not args.no_shared_groups,
        data=args.data,
        evaluating=Evaluating(every=args.eval_every, steps=args.eval_steps or _EVAL_STEPS)
        if args.eval_every
        else None,
        logs=args.log_dir,
        tracing=_tracing(spec, args, steps) if args.profile else None,
    )


def _tracing(spec: Any, args: argparse.Namespace, steps: int) -> Any:
    """What is traced of a run of so many steps; nothing where none is left to do."""
    from mimodsl.cli import trouble
    from mimodsl.planner.plan import plan
    from mimodsl.runtime.traces import Tracing

    first, last = args.profile_steps or (min(2, steps), min(2, steps))
    if last > steps > 0:
        raise trouble.UsageError(f"--profile-steps goes to {last}, the run has {steps} steps")
    ranks = args.profile_ranks or plan(spec).representatives()
    if max(ranks) >= spec.world:
        raise trouble.UsageError(f"there is no rank {max(ranks)} to profile among {spec.world}")
    return Tracing(folder=args.profile, first=first, last=last, ranks=ranks)


def _train(spec: Any, args: argparse.Namespace) -> int:
    import json

    from mimodsl.cli import terminal
    from mimodsl.runtime.run import DeviceChoice, is_first, run
    from mimodsl.runtime.workers import Watch
    from mimodsl.show.progress import Progress

    training, trains = _training(spec, args), bool(_given_for_training(args))
    with terminal.lasting_console(sys.stderr if args.json else sys.stdout) as console:
        progress = Progress(console=console)
        watch = Watch(
            timeout=args.timeout or options.TIMEOUT, observer=progress, verbose=args.verbose
        )
        with progress.shown():
            done = run(training, choice=DeviceChoice(args.device), watch=watch, trains=trains)
        if is_first() and not args.json:
            _summary_of(done).show(done, console)
            if args.resume and training.start and not training.steps:
                step = training.start.manifest.step
                console.print(f"nothing is left to train: {step} steps are done already")
    if is_first() and args.json:
        print(json.dumps(_summary_of(done).document(done, str(args.spec)), indent=2))
    return 0


def _summary_of(done: Any) -> Any:
    """The module that shows what was done."""
    from mimodsl.runtime.meta_build import MetaBuild

    if isinstance(done, MetaBuild):
        from mimodsl.show import meta as meta_summary

        return meta_summary
    from mimodsl.show import run as summary

    return summary
