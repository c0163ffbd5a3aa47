"""`mimodsl check`: reports all mistakes in some specs, in one run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options, terminal

if TYPE_CHECKING:
    from pathlib import Path

    from mimodsl.checker.file_check import CheckedFile
    from mimodsl.diagnostics import Diagnostic

_FORMATS = ("full", "concise", "json", "github")
_EPILOG = """\
A folder means all .mimo files below it. A file that only declares constants, presets, grids or
modules, for other files to `use`, is a library and may be incomplete.

The exit code is 1 if a spec has an error. Warnings do not change it."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands, "check", _run, help="report every mistake in specs", epilog=_EPILOG
    )
    options.add_specs(parser)
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="full",
        help="full (the default, with the source), concise (a line each), json, or github "
        "(workflow commands)",
    )
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="the same as --format json",
    )
    for option, words in (("select", "show only these warnings"), ("ignore", "hide warnings")):
        parser.add_argument(
            f"--{option}",
            metavar="CODE",
            type=options.code_list,
            action="extend",
            default=[],
            help=f"{words}: codes, or beginnings of codes, with commas between (may be repeated)",
        )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="correct, in the file, mistakes that have only one possible correction; show the "
        "changes and the remaining mistakes",
    )
    options.add_set(parser)


def _run(args: argparse.Namespace) -> int:
    from mimodsl.checker.file_check import check_file
    from mimodsl.checker.selection import selection
    from mimodsl.cli import inputs

    selected = selection(args.select, args.ignore)
    paths = inputs.specs_of(args.specs)
    inputs.refuse_set(paths, args.overrides)
    overrides = dict(args.overrides)
    checked = [check_file(path, inputs.read(path), overrides) for path in paths]
    if args.fix:
        checked = _fixed(
            paths, checked, overrides, sys.stdout if args.format == "full" else sys.stderr
        )
    diagnostics = [diagnostic for diagnostic in _each_once(checked) if selected.shows(diagnostic)]
    _show(args.format, diagnostics)
    if args.format in ("full", "concise"):
        print(_summary(checked, diagnostics))
    return int(any(file.errors for file in checked))


def _fixed(
    paths: list[Path], checked: list[CheckedFile], overrides: dict[str, str], report: Any
) -> list[CheckedFile]:
    """Fix the files, show the changes, and check all files again: one may use another."""
    from mimodsl.checker.file_check import check_file
    from mimodsl.cli import inputs, specs
    from mimodsl.cli.fixing import repaired
    from mimodsl.cli.trouble import UsageError

    if inputs.STANDARD_INPUT in paths:
        raise UsageError("--fix changes files, and standard input is not a file")
    repairs = [repaired(file, path, overrides) for path, file in zip(paths, checked, strict=True)]
    count = sum(repair.count for repair in repairs)
    if count == 0:
        return checked
    files = sum(bool(repair.diff) for repair in repairs)
    for repair in repairs:
        report.write(repair.diff)
    where = specs.plural(files, "file")
    print(f"\nfixed {specs.plural(count, 'mistake')} in {where}\n", file=report, flush=True)
    return [check_file(path, inputs.read(path), overrides) for path in paths]


def _each_once(checked: Sequence[CheckedFile]) -> list[Diagnostic]:
    """All diagnostics, each once: several specs may use the file that has the mistake."""
    seen: dict[tuple[str, str, str], Diagnostic] = {}
    for diagnostic in (diagnostic for file in checked for diagnostic in file.diagnostics):
        seen.setdefault(
            (diagnostic.code, str(diagnostic.primary.where), diagnostic.message), diagnostic
        )
    return list(seen.values())


def _show(format: str, diagnostics: Sequence[Diagnostic]) -> None:
    if not diagnostics and format != "json":
        return
    renderer = import_module(f"mimodsl.diagnostics.render.{format}")
    if format == "full":
        text = renderer.render(diagnostics, color=terminal.colorful(sys.stdout))
    else:
        text = renderer.render(diagnostics)
    if text:
        print(text, end="\n\n" if format == "full" else "\n")


def _summary(checked: Sequence[CheckedFile], diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors and 1 warning in 3 specs and 1 library; --fix corrects 1`."""
    from mimodsl.cli.specs import counted, joined, plural

    libraries = sum(file.is_library for file in checked)
    specs = len(checked) - libraries
    where = joined(plural(specs, "spec"), plural(libraries, "library", "libraries"))
    text = counted(diagnostics) or "no mistakes"
    if len(checked) > 1 or libraries:
        text += f" in {where}"
    files = {file.source.path for file in checked if file.source is not None}
    fixable = sum(
        bool(diagnostic.edits) and all(edit.span.file.path in files for edit in diagnostic.edits)
        for diagnostic in diagnostics
    )
    return f"{text}; --fix corrects {fixable}" if fixable else text
