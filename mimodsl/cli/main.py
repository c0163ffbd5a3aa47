"""The command `mimodsl`: reads the command line, runs one subcommand, and says what went wrong.

Exit codes: 0 for success, 1 where a spec has mistakes or a run failed or was
interrupted, 2 for wrong usage, a missing extra or an internal error.
"""

import sys
from collections.abc import Sequence

from mimodsl._version import __version__
from mimodsl.cli import (
    build,
    check,
    diff,
    explain,
    export,
    fmt,
    lsp,
    new,
    plan,
    terminal,
    trouble,
    verify,
)
from mimodsl.cli.parsing import Help, Parser
from mimodsl.runtime.signals import Terminated, ending_signals

_COMMANDS = (new, check, fmt, plan, build, verify, export, diff, explain, lsp)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; argparse exits by itself for `--help`."""
    if argv is None:
        terminal.open_streams()
    args = parser().parse(argv)
    if args.command is None:
        parser().print_help(sys.stderr)
        return trouble.ABNORMAL
    with ending_signals(last=argv is None) as signals:
        try:
            with signals.raising():
                code = args.command(args)
                sys.stdout.flush()
        except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001 - no tracebacks
            return trouble.report(error, verbose=args.verbose)
        return code


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="mimodsl",
        description="Check, plan and build heterogeneous-parallel multimodal models "
        "from .mimo specs.",
        epilog="To begin: `mimodsl new mine.mimo` writes a spec, and `mimodsl build mine.mimo` "
        "trains it on this machine.",
        allow_abbrev=False,
        formatter_class=Help,
    )
    top.add_argument("--version", action="version", version=f"mimodsl {__version__}")
    top.set_defaults(command=None, verbose=False)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for module in _COMMANDS:
        module.add_to(commands)
    return top
