"""The command `mimodsl`: reads the command line, runs one subcommand, and reports errors.

Exit codes: 0 for success, 1 if a spec has mistakes or a run failed or was
interrupted, 2 for wrong usage, a missing extra or an internal error.
"""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from mimodsl._version import __version__
from mimodsl.cli import terminal, trouble
from mimodsl.cli.parsing import Help, Parser
from mimodsl.runtime.signals import Terminated, ending_signals

_COMMANDS: Final = (
    *("new", "check", "fmt", "plan", "build"),
    *("verify", "export", "diff", "explain", "lsp"),
)
"""The subcommands in the order of the help. Each has a file of its name."""

_GARBAGE: Final = 50_000
"""New objects after which Python looks for garbage. Imports make many, and most are never freed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; argparse exits by itself for `--help`."""
    is_process = argv is None
    if argv is None:
        gc.set_threshold(_GARBAGE)
        terminal.open_streams()
        argv = sys.argv[1:]
    args = parser(_command(argv)).parse(argv)
    if args.command is None:
        parser().print_help(sys.stderr)
        return trouble.ABNORMAL
    with ending_signals(last=is_process) as signals:
        try:
            with signals.raising():
                code = args.command(args)
                sys.stdout.flush()
        except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001 - no tracebacks
            return trouble.report(error, verbose=args.verbose)
        return code


def _command(argv: Sequence[str]) -> str | None:
    """The subcommand at the beginning of a command line."""
    return next((word for word in argv[:1] if word in _COMMANDS), None)


def parser(only: str | None = None) -> Parser:
    """A parser with all subcommands, or with only one, so that the others are not imported."""
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
    for name in [only] if only else _COMMANDS:
        import_module(f"mimodsl.cli.{name}").add_to(commands)
    return top
