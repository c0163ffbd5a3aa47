"""`mimodsl plan`: what a spec comes to on every rank, without any of them."""

import argparse
import sys
from typing import Any

from mimodsl.cli import options


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "plan",
        _run,
        help="show ranks, groups, bridges and the schedule of a spec",
        epilog="Needs no torch and no GPU, and is as quick for a thousand ranks as for eight.",
    )
    parser.add_argument("spec", metavar="SPEC", type=options.spec_file)
    parser.add_argument(
        "--rank", metavar="R", type=options.natural, help="show this rank's part alone"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options.add_set(parser)


def _run(args: argparse.Namespace) -> int:
    import json

    from mimodsl.cli import specs, terminal, trouble

    spec = specs.sound_spec(args)
    if spec is None:
        return trouble.FAILURE
    if args.rank is not None and args.rank >= spec.world:
        last = spec.world - 1
        raise trouble.UsageError(f"there is no rank {args.rank}: the ranks are 0 to {last}")
    from mimodsl.plan import plan
    from mimodsl.plan.show import as_json, render

    whole = plan(spec)
    if args.json:
        print(json.dumps(as_json(whole, rank=args.rank), indent=2, ensure_ascii=False))
    else:
        render(whole, terminal.console(sys.stdout), rank=args.rank)
    return 0
