"""`mimodsl check`: every mistake in some specs, in one run."""

import argparse
import sys
from typing import Any

from mimodsl.cli import options

_FORMATS = ("full", "concise", "json", "github")


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "check",
        _run,
        help="report every mistake in specs",
        epilog="Exits with 1 where a spec has an error; warnings alone do not fail.",
    )
    parser.add_argument("specs", metavar="SPEC", nargs="+", type=options.spec_file)
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="full",
        help="full (the default, with the source), concise (a line each), json, or github "
        "(workflow commands)",
    )
    options.add_set(parser)


def _run(args: argparse.Namespace) -> int:
    from mimodsl import api
    from mimodsl.cli import specs

    found = [api.diagnose(path, dict(args.overrides))[1] for path in args.specs]
    diagnostics = [diagnostic for each in found for diagnostic in each]
    if args.format == "full":
        specs.show(diagnostics, sys.stdout)
        if not diagnostics:
            print("no mistakes" if len(found) == 1 else f"no mistakes in {len(found)} specs")
    else:
        _print_as(args.format, diagnostics)
    return int(any(diagnostic.is_error for diagnostic in diagnostics))


def _print_as(format: str, diagnostics: list[Any]) -> None:
    from mimodsl.diagnostics.render import concise, github, json

    renders = {"concise": concise.render, "json": json.render, "github": github.render}
    text = renders[format](diagnostics)
    if text:
        print(text)
