"""`mimodsl lsp`: the language server, for editors."""

import argparse
from typing import Any

from mimodsl.cli import options


def add_to(commands: Any) -> None:
    options.command(
        commands,
        "lsp",
        _run,
        help="serve an editor over standard input and output",
        epilog="Editors start it; docs/editors.md says how. Needs the extra `lsp`.",
    )


def _run(args: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its arguments
    from mimodsl.lsp.server import serve

    return 0 if serve() else 1
