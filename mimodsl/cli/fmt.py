"""`mimodsl fmt`: specs in the one style."""

import argparse
import difflib
import sys
from typing import Any

from mimodsl.cli import options


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "fmt",
        _run,
        help="put specs into the one style, in place",
        epilog="Comments stay, the meaning stays, and a file that does not parse is left alone.",
    )
    parser.add_argument("specs", metavar="SPEC", nargs="+", type=options.spec_file)
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
    from mimodsl.cli import files, specs
    from mimodsl.source import SourceFile
    from mimodsl.syntax.formatter import format_source

    failed = False
    for path in args.specs:
        before = files.read(path)
        formatted = format_source(SourceFile(str(path), before))
        specs.show(formatted.diagnostics, sys.stderr)
        if formatted.text is None:
            failed = True
        elif formatted.text != before:
            if args.diff:
                sys.stdout.writelines(_diff(str(path), before, formatted.text))
            elif args.check:
                print(f"{path} would change")
            else:
                files.replace(path, formatted.text)
                print(f"{path} formatted")
            failed = failed or args.check or args.diff
    return int(failed)


def _diff(path: str, before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), path, f"{path} formatted"
    )
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]
