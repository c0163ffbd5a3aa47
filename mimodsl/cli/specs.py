"""Loads and checks the spec of a subcommand, and prints its mistakes."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TextIO

from mimodsl.cli import terminal
from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.spec import Spec


def sound_spec(args: Namespace) -> Spec | None:
    """The spec of `args`, or `None` if it has errors. All its diagnostics go to standard error."""
    from mimodsl.checker.file_check import check_file
    from mimodsl.cli import inputs

    inputs.refuse_set([args.spec], args.overrides)
    checked = check_file(
        args.spec, inputs.read(args.spec), dict(args.overrides), allow_library=False
    )
    show(checked.diagnostics, sys.stderr)
    return checked.spec


def show(diagnostics: Sequence[Diagnostic], stream: TextIO) -> None:
    """Prints diagnostics in full, and their number."""
    from mimodsl.diagnostics.render import full

    if diagnostics:
        print(full.render(diagnostics, color=terminal.colorful(stream)), file=stream)
        print(f"\n{counted(diagnostics)}", file=stream)


def counted(diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors and 1 warning`."""
    errors = sum(diagnostic.is_error for diagnostic in diagnostics)
    return joined(plural(errors, "error"), plural(len(diagnostics) - errors, "warning"))


def plural(number: int, word: str, many: str = "") -> str:
    """`2 errors`; an empty text for 0."""
    return f"{number} {word if number == 1 else many or f'{word}s'}" if number else ""


def joined(*words: str) -> str:
    """The words that are not empty, with `and` between them."""
    return " and ".join(filter(None, words))
