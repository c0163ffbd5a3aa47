"""Loads and checks the spec that a subcommand is about, and prints what is wrong with it."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TextIO

from mimodsl.cli import terminal
from mimodsl.diagnostics import Diagnostic
from mimodsl.ir.spec import Spec


def sound_spec(args: Namespace) -> Spec | None:
    """The spec of `args`, `None` where it has errors; standard error says all there is of it."""
    from mimodsl.checker.file_check import check_file
    from mimodsl.cli import inputs

    inputs.refuse_set([args.spec], args.overrides)
    found = check_file(args.spec, inputs.read(args.spec), dict(args.overrides), allow_library=False)
    show(found.diagnostics, sys.stderr)
    return found.spec


def show(diagnostics: Sequence[Diagnostic], stream: TextIO) -> None:
    """Prints diagnostics in full, and how many there are."""
    from mimodsl.diagnostics.render import full

    if diagnostics:
        print(full.render(diagnostics, color=terminal.colorful(stream)), file=stream)
        print(f"\n{counted(diagnostics)}", file=stream)


def counted(diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors and 1 warning`."""
    errors = sum(diagnostic.is_error for diagnostic in diagnostics)
    return joined(plural(errors, "error"), plural(len(diagnostics) - errors, "warning"))


def plural(number: int, one: str, many: str = "") -> str:
    """`2 errors`; nothing for none."""
    return f"{number} {one if number == 1 else many or f'{one}s'}" if number else ""


def joined(*words: str) -> str:
    """What there is of some words, with `and` between them."""
    return " and ".join(filter(None, words))
