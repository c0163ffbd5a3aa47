"""`mimodsl check`: every mistake in some specs, in one run."""

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
A folder stands for every .mimo file below it. A file that declares only what others `use`
(constants, presets, grids, modules) is a library and need not be whole.

Exits with 1 where a spec has an error; warnings alone do not fail."""


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
    for option, words in (("select", "show these warnings alone"), ("ignore", "hide warnings")):
        parser.add_argument(
            f"--{option}",
            metavar="CODE",
            type=options.code_list,
            action="extend",
            default=[],
            help=f"{words}, by code or its beginning, separated by commas (may be repeated)",
        )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="correct, in place, what can only have been meant in one way; show the change and "
        "what is left",
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
    found = [check_file(path, inputs.read(path), overrides) for path in paths]
    if args.fix:
        found = _fixed(paths, found, overrides, sys.stdout if args.format == "full" else sys.stderr)
    diagnostics = [one for one in _each_once(found) if selected.shows(one)]
    _show(args.format, diagnostics)
    if args.format in ("full", "concise"):
        print(_summary(found, diagnostics))
    return int(any(one.errors for one in found))


def _fixed(
    paths: list[Path], found: list[CheckedFile], overrides: dict[str, str], report: Any
) -> list[CheckedFile]:
    """The files after their fixes, which are shown; what is fixed in one may matter to another."""
    from mimodsl.checker.file_check import check_file
    from mimodsl.cli import inputs, specs
    from mimodsl.cli.fixing import repaired
    from mimodsl.cli.trouble import UsageError

    if inputs.STANDARD_INPUT in paths:
        raise UsageError("--fix changes files, and standard input is none")
    repairs = [repaired(one, path, overrides) for path, one in zip(paths, found, strict=True)]
    count = sum(repair.count for repair in repairs)
    if count == 0:
        return found
    files = sum(bool(repair.diff) for repair in repairs)
    for repair in repairs:
        report.write(repair.diff)
    where = specs.plural(files, "file")
    print(f"\nfixed {specs.plural(count, 'mistake')} in {where}\n", file=report, flush=True)
    return [check_file(path, inputs.read(path), overrides) for path in paths]


def _each_once(found: Sequence[CheckedFile]) -> list[Diagnostic]:
    """All diagnostics; a mistake in a file that several specs use is one."""
    seen: dict[tuple[str, str, str], Diagnostic] = {}
    for one in (one for file in found for one in file.diagnostics):
        seen.setdefault((one.code, str(one.primary.where), one.message), one)
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


def _summary(found: Sequence[CheckedFile], diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors and 1 warning in 3 specs and 1 library; --fix corrects 1`."""
    from mimodsl.cli.specs import counted, joined, plural

    libraries = sum(one.is_library for one in found)
    specs = len(found) - libraries
    where = joined(plural(specs, "spec"), plural(libraries, "library", "libraries"))
    text = counted(diagnostics) or "no mistakes"
    if len(found) > 1 or libraries:
        text += f" in {where}"
    files = {one.source.path for one in found if one.source is not None}
    fixable = sum(
        bool(one.edits) and all(edit.span.file.path in files for edit in one.edits)
        for one in diagnostics
    )
    return f"{text}; --fix corrects {fixable}" if fixable else text
