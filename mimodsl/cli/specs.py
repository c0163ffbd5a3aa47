"""Loads and checks the spec that a subcommand is about, and prints what is wrong with it."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TextIO

from mimodsl import api
from mimodsl.cli import terminal
from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.spec import Spec


def sound_spec(args: Namespace) -> Spec | None:
    """The spec of `args`, `None` where it has errors; standard error says all there is of it."""
    spec, diagnostics = api.diagnose(args.spec, dict(args.overrides))
    show(diagnostics, sys.stderr)
    return spec


def show(diagnostics: Sequence[Diagnostic], stream: TextIO) -> None:
    """Prints diagnostics in full, and how many there are."""
    from mimodsl.diagnostics.render import full

    if diagnostics:
        print(full.render(diagnostics, color=terminal.colorful(stream)), file=stream)
        print(f"\n{counted(diagnostics)}", file=stream)


def counted(diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors and 1 warning`."""
    errors = sum(diagnostic.is_error for diagnostic in diagnostics)
    warnings = len(diagnostics) - errors
    words = [
        f"{number} {noun}{'s' if number > 1 else ''}"
        for number, noun in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    return " and ".join(words)
