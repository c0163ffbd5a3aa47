"""`mimodsl explain`: what a diagnostic's code means."""

import argparse
from typing import Any

from mimodsl.cli import options


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "explain",
        _run,
        help="explain the code of a diagnostic",
        epilog="For example: mimodsl explain MIMO301",
    )
    parser.add_argument("code", metavar="CODE", type=str.upper)


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import trouble
    from mimodsl.cli.pages import known_codes, page
    from mimodsl.diagnostics.suggest import closest

    text = page(args.code)
    if text is None:
        near = closest(args.code, known_codes())
        hint = f"; did you mean {near}?" if near else ""
        raise trouble.UsageError(f"there is no code {args.code}{hint}")
    print(text)
    return 0
