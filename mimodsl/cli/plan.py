"""`mimodsl plan`: computes and shows the part of each rank, without running any."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options

if TYPE_CHECKING:
    from mimodsl.planner.plan import Plan
    from mimodsl.planner.time import StepTime

_EPILOG = """\
The command needs no torch and no GPU, and takes as long for a million ranks as for eight.

--groups writes a table with four columns. name is the name of a group, as the plan shows it. index
counts the groups of that name, in the order of their creation. position is the member's rank in the
group, and rank its rank in the world. To find the groups of a rank, take the rows with this rank;
their members are the rows with the same name and index. The file is written completely or not at
all; a few million rows take a second."""

_TABLES = {"": "csv", ".csv": "csv", ".jsonl": "jsonl"}
_STANDARD_OUTPUT = Path("-")


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "plan",
        _run,
        help="show ranks, groups, bridges and the schedule of a spec",
        epilog=_EPILOG,
    )
    options.add_spec(parser, standard_input=True)
    parser.add_argument(
        "--rank", metavar="R", type=options.natural, help="show only the part of this rank"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--groups",
        metavar="FILE",
        type=_table,
        help="instead, write all groups of all ranks to a table with a row for each member: .csv "
        "or .jsonl (a JSON object a line); - is standard output, as CSV",
    )
    parser.add_argument(
        "--fit",
        metavar="SIZE",
        type=options.memory_size,
        help="instead, show which ranks need more memory at the peak of a step than this size, "
        "such as 80GiB or 141GB, or than a GPU has, such as h100; the exit code is 1 if any do",
    )
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        type=options.gpu,
        help="instead, show the least time of a step on a100, h100, h200 or b200, and what "
        "bounds it",
    )
    parser.add_argument(
        "--gpus-per-node",
        metavar="N",
        type=options.positive,
        help="with --gpu: the number of GPUs of a node (default: 8)",
    )
    options.add_set(parser)


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import specs, terminal, trouble

    _require_one_purpose(args)
    spec = specs.sound_spec(args)
    if spec is None:
        return trouble.FAILURE
    if args.rank is not None and args.rank >= spec.world:
        last = spec.world - 1
        raise trouble.UsageError(f"there is no rank {args.rank}: the ranks are 0 to {last}")
    from mimodsl.planner.plan import plan as compute_plan
    from mimodsl.show.plan import document, show

    plan = compute_plan(spec)
    if args.fit is not None:
        return 0 if _fits(plan, args) else trouble.FAILURE
    if args.gpu is not None:
        _show_time(_time(plan, args), args)
    elif args.groups:
        _write_groups(plan, args.groups)
    elif args.json:
        terminal.print_json(document(plan, rank=args.rank))
    else:
        show(plan, terminal.console(sys.stdout), rank=args.rank)
    return 0


def _require_one_purpose(args: argparse.Namespace) -> None:
    from mimodsl.cli import trouble

    if args.groups and (args.json or args.rank is not None):
        raise trouble.UsageError("--groups writes the groups of all ranks: not with --rank, --json")
    if args.fit is not None and (args.groups or args.rank is not None):
        raise trouble.UsageError("--fit is about all ranks: not with --rank, --groups")
    if args.gpu is not None and (args.groups or args.fit is not None):
        raise trouble.UsageError("--gpu is about time: not with --groups, --fit")
    if args.gpus_per_node is not None and args.gpu is None:
        raise trouble.UsageError("--gpus-per-node needs --gpu")


def _fits(plan: Plan, args: argparse.Namespace) -> bool:
    from mimodsl.cli import terminal
    from mimodsl.show.plan import fit

    if args.json:
        document = fit.document(plan, args.fit)
        terminal.print_json(document)
        return document["fits"]
    return fit.show(plan, args.fit, terminal.console(sys.stdout))


def _time(plan: Plan, args: argparse.Namespace) -> StepTime:
    import attrs

    from mimodsl.cli import trouble
    from mimodsl.planner.time import least_time

    gpu = args.gpu
    if args.gpus_per_node is not None:
        gpu = attrs.evolve(gpu, per_node=args.gpus_per_node)
    try:
        return least_time(plan, gpu)
    except ValueError as error:
        raise trouble.UsageError(str(error)) from error


def _show_time(time: StepTime, args: argparse.Namespace) -> None:
    from mimodsl.cli import terminal
    from mimodsl.show.plan.time import document, show, show_rank

    if args.json:
        terminal.print_json(document(time, args.rank))
    elif args.rank is None:
        show(time, terminal.console(sys.stdout))
    else:
        show_rank(time, args.rank, terminal.console(sys.stdout))


def _table(text: str) -> Path:
    """A path whose ending is a format of tables."""
    path = Path(text)
    if path.suffix not in _TABLES:
        raise argparse.ArgumentTypeError(f"expected a name in .csv or .jsonl, found {text!r}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    return path


def _write_groups(plan: Plan, path: Path) -> None:
    from mimodsl.cli import files
    from mimodsl.show.plan.group_table import RowForm, group_rows, row_count

    rows = group_rows(plan, RowForm(_TABLES[path.suffix]))
    if path == _STANDARD_OUTPUT:
        sys.stdout.writelines(rows)
        return
    files.write_pieces(path, rows)
    print(f"{path} written: {row_count(plan):,} rows")
