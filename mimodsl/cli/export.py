"""`mimodsl export`: writes a spec for other programs."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options

if TYPE_CHECKING:
    from mimodsl.exporter.target import Launch, Target
    from mimodsl.ir.spec import Spec
    from mimodsl.planner.nodes import NodePlan

_EPILOG = """\
A launch script contains the whole spec, with names and values resolved, and needs no other file. It
puts consecutive ranks on each node, and keeps tp and ep groups inside one node if it can. A table
of the groups that cross nodes goes to standard output or, if the script goes there, to standard
error. If you run the script again, or Slurm requeues it, the run continues from the last
checkpoint.

A Python script builds and trains the same model with megatron-core alone, in the same steps as
`mimodsl build`. JSON is the spec itself; all commands read it like a .mimo file. megatron-args are
the flags of Megatron-LM's MIMO example, followed by the parts of the spec that have no flag."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "export",
        _run,
        help="write a spec for other programs: launchers, Python, JSON, Megatron-LM",
        epilog=_EPILOG,
    )
    options.add_spec(parser)
    parser.add_argument(
        "--to",
        choices=("torchrun", "slurm", "python", "json", "megatron-args"),
        required=True,
        help="the program to write for",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write to this file instead of standard output"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print nodes and groups as one JSON document, without the script",
    )
    _add_run(parser.add_argument_group("the run"))
    _add_nodes(parser.add_argument_group("nodes"))
    _add_slurm(parser.add_argument_group("Slurm"))
    options.add_set(parser)


def _add_run(group: Any) -> None:
    group.add_argument(
        "--steps",
        metavar="N",
        type=options.positive,
        help="training steps in total, over all starts of the run (default: 10)",
    )
    group.add_argument(
        "--save-every",
        metavar="N",
        type=options.positive,
        help="save a checkpoint after every N-th step (default: 100)",
    )
    group.add_argument(
        "--folder",
        metavar="DIR",
        help="the folder for spec, logs and checkpoints, shared by all nodes (default: runs/NAME)",
    )
    group.add_argument(
        "--job-name",
        dest="name",
        metavar="NAME",
        help="the name of the run (default: the name of the spec's file)",
    )


def _add_nodes(group: Any) -> None:
    group.add_argument(
        "--device", choices=("cpu", "cuda"), help="what the ranks compute on (default: cuda)"
    )
    group.add_argument(
        "--gpus-per-node",
        metavar="N",
        type=options.positive,
        help="GPUs of a node; with --device cpu, ranks of a node (default: 8)",
    )
    group.add_argument(
        "--ranks-per-node",
        metavar="N",
        type=options.positive,
        help="ranks on each node (default: chosen so that few groups cross nodes)",
    )
    group.add_argument(
        "--before",
        metavar="COMMAND",
        action="append",
        help="run this shell command first, such as `module load cuda` (may be repeated)",
    )


def _add_slurm(group: Any) -> None:
    group.add_argument("--time", metavar="LIMIT", help="Slurm's time limit, such as 2-12:00:00")
    group.add_argument("--partition", metavar="NAME", help="Slurm's partition")
    group.add_argument("--account", metavar="NAME", help="Slurm's account")
    group.add_argument(
        "--retries",
        metavar="N",
        type=options.natural,
        help="requeue a job that fails or runs out of time: always after an attempt that saved a "
        "new checkpoint, otherwise up to N times (default: 3; 0: never)",
    )
    group.add_argument(
        "--sbatch",
        metavar="OPTION",
        action="append",
        help="pass this option to sbatch, such as --sbatch=--qos=high (may be repeated)",
    )


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import specs, trouble
    from mimodsl.exporter.targets import target

    launch = _launch(args, target(args.to))
    if args.json and not target(args.to).launches:
        raise trouble.UsageError(f"--json describes nodes, and --to {args.to} has no nodes")
    spec = specs.sound_spec(args)
    if spec is None:
        return trouble.FAILURE
    try:
        _export(spec, launch, args)
    except ValueError as error:  # a value that the cluster refuses
        raise trouble.UsageError(str(error)) from error
    return 0


def _launch(args: argparse.Namespace, target: Target) -> Launch:
    """The run that the command line describes, named after the spec's file."""
    from mimodsl.exporter.target import Launch

    overrides = ", ".join(f"{name}={value}" for name, value in args.overrides)
    return target.launch(
        options.given(Launch, args),
        name=re.sub(r"[^\w.-]+", "_", args.spec.stem, flags=re.ASCII),
        source=f"{args.spec}{' with ' if overrides else ''}{overrides}",
    )


def _export(spec: Spec, launch: Launch, args: argparse.Namespace) -> None:
    from mimodsl.cli import files
    from mimodsl.exporter.targets import target
    from mimodsl.planner.plan import plan

    nodes = launch.nodes(plan(spec))
    text = target(args.to).write(nodes, launch)
    if args.output:
        files.write(args.output, text)
    elif not args.json:
        print(text, end="")
    if target(args.to).launches:
        _report(nodes, args)


def _report(nodes: NodePlan, args: argparse.Namespace) -> None:
    from mimodsl.cli import terminal
    from mimodsl.show.plan.nodes import document, show

    if args.json:
        terminal.print_json(document(nodes))
    else:
        show(nodes, terminal.console(sys.stdout if args.output else sys.stderr))
