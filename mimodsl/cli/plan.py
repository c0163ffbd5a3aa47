"""`mimodsl plan`: what a spec comes to on every rank, without any of them."""

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
Needs no torch and no GPU, and is as quick for a million ranks as for eight.

--groups writes a table of four columns. name is the group's, as the plan shows it; index
says which of the groups of that name it is, in the order in which they are made; position
is the member's rank in the group, and rank its rank in the world. The groups of one rank
are the rows with that rank, and their members those with the same name and index. The
file is written whole or not at all; some million rows take a second."""

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
        "--rank", metavar="R", type=options.natural, help="show this rank's part alone"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--groups",
        metavar="FILE",
        type=_table,
        help="write every group of every rank to a table instead, a row for each member: .csv or "
        ".jsonl (a JSON object a line); - is standard output, as CSV",
    )
    parser.add_argument(
        "--fit",
        metavar="SIZE",
        type=options.memory_size,
        help="say instead which ranks need more memory than this, as 80GiB or 141GB, or than a GPU "
        "has, as h100, at the peak of a step, and by how much; exit code 1 if any do",
    )
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        type=options.gpu,
        help="say instead how long a step takes at least on a100, h100, h200 or b200, and what "
        "bounds it",
    )
    parser.add_argument(
        "--gpus-per-node",
        metavar="N",
        type=options.positive,
        help="with --gpu: GPUs of a node (default: 8)",
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
    from mimodsl.planner.plan import plan
    from mimodsl.show.plan import document, show

    whole = plan(spec)
    if args.fit is not None:
        return 0 if _fits(whole, args) else trouble.FAILURE
    if args.gpu is not None:
        _show_time(_time(whole, args), args)
    elif args.groups:
        _write_groups(whole, args.groups)
    elif args.json:
        terminal.print_json(document(whole, rank=args.rank))
    else:
        show(whole, terminal.console(sys.stdout), rank=args.rank)
    return 0


def _require_one_purpose(args: argparse.Namespace) -> None:
    from mimodsl.cli import trouble

    if args.groups and (args.json or args.rank is not None):
        raise trouble.UsageError("--groups writes the groups of all ranks: not with --rank, --json")
    if args.fit is not None and (args.groups or args.rank is not None):
        raise trouble.UsageError("--fit speaks of all ranks: not with --rank, --groups")
    if args.gpu is not None and (args.groups or args.fit is not None):
        raise trouble.UsageError("--gpu speaks of time: not with --groups, --fit")
    if args.gpus_per_node is not None and args.gpu is None:
        raise trouble.UsageError("--gpus-per-node says how --gpu lies on nodes: not without it")


def _fits(whole: Plan, args: argparse.Namespace) -> bool:
    from mimodsl.cli import terminal
    from mimodsl.show.plan import fit

    if args.json:
        found = fit.document(whole, args.fit)
        terminal.print_json(found)
        return found["fits"]
    return fit.show(whole, args.fit, terminal.console(sys.stdout))


def _time(whole: Plan, args: argparse.Namespace) -> StepTime:
    import attrs

    from mimodsl.cli import trouble
    from mimodsl.planner.time import least_time

    gpu = args.gpu
    if args.gpus_per_node is not None:
        gpu = attrs.evolve(gpu, per_node=args.gpus_per_node)
    try:
        return least_time(whole, gpu)
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
    """A path whose ending says how its table is spelled."""
    path = Path(text)
    if path.suffix not in _TABLES:
        raise argparse.ArgumentTypeError(f"expected a name in .csv or .jsonl, found {text!r}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    return path


def _write_groups(whole: Plan, path: Path) -> None:
    from mimodsl.cli import files
    from mimodsl.show.plan.group_table import RowForm, group_rows, row_count

    rows = group_rows(whole, RowForm(_TABLES[path.suffix]))
    if path == _STANDARD_OUTPUT:
        sys.stdout.writelines(rows)
        return
    files.write_pieces(path, rows)
    print(f"{path} written: {row_count(whole):,} rows")
