"""`mimodsl fmt`: puts specs into the standard style."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mimodsl.cli import options


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "fmt",
        _run,
        help="put specs into the standard style, in their files",
        epilog="Comments and meaning stay. A file that does not parse stays unchanged. Standard "
        "input goes to standard output.",
    )
    options.add_specs(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 and name the files that would change",
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="write nothing; exit with 1 and show what would change",
    )


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import inputs, trouble

    paths = inputs.specs_of(args.specs)
    for path in paths:
        if path.suffix == inputs.JSON:
            raise trouble.UsageError(f"{path} is JSON, and fmt is for .mimo files")
    failed = [path for path in paths if not _format(path, args)]
    return int(bool(failed))


def _format(path: Path, args: argparse.Namespace) -> bool:
    """Formats a file, or shows its change. False if the command must fail."""
    from mimodsl.cli import files, inputs, specs
    from mimodsl.diagnostics import Diagnostic
    from mimodsl.syntax.formatter import format_source

    source = inputs.read(path)
    if isinstance(source, Diagnostic):
        specs.show([source], sys.stderr)
        return False
    formatted = format_source(source)
    specs.show(formatted.diagnostics, sys.stderr)
    if formatted.text is None:
        return False
    piped = path == inputs.STANDARD_INPUT
    if piped and not (args.check or args.diff):
        sys.stdout.write(formatted.text)
        return True
    before = source.text if piped else files.read(path)
    if formatted.text == before:
        return True
    if args.diff:
        sys.stdout.write(files.diff(source.path, before, formatted.text, "formatted"))
    elif args.check:
        print(f"{source.path} would change")
    else:
        files.replace(path, formatted.text)
        print(f"{path} formatted")
    return not (args.check or args.diff)
