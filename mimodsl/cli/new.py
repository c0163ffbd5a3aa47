"""`mimodsl new`: writes a new spec from a template."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mimodsl.cli import options

_DEFAULT = "nemotron_vlm"


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "new",
        _run,
        help="start a spec from a template",
        epilog="A template is a shipped spec that builds without changes; --list lists all.",
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help="the file to write; - is standard output"
    )
    parser.add_argument(
        "--template",
        metavar="NAME",
        default=_DEFAULT,
        help=f"the spec to start from (default: {_DEFAULT})",
    )
    parser.add_argument("--list", action="store_true", help="list the templates")


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import files, terminal
    from mimodsl.cli.trouble import UsageError

    if args.list:
        _show(_templates())
        return 0
    if args.file is None:
        raise UsageError("name the file to write, or use --list")
    text = _template(args.template)
    if args.file == Path("-"):
        sys.stdout.write(text)
        return 0
    try:
        files.create(args.file, text)
    except FileExistsError as error:
        raise UsageError(f"{args.file} already exists, and stays unchanged") from error
    terminal.console(sys.stdout).print(
        f"{args.file} written: mimodsl check {args.file}, then mimodsl build {args.file}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _templates() -> dict[str, str]:
    """The text of every template by name."""
    from mimodsl.resources import specs_folder

    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(specs_folder().glob("*.mimo"))
    }


def _template(name: str) -> str:
    from mimodsl.cli.trouble import UsageError
    from mimodsl.diagnostics.suggest import unknown

    templates = _templates()
    if name not in templates:
        raise UsageError(unknown("template", name, templates, "--list shows all templates"))
    return templates[name]


def _show(templates: dict[str, str]) -> None:
    """Every template with the first line of its comment."""
    width = max(map(len, templates))
    for name, text in templates.items():
        print(f"{name:{width}}  {text.splitlines()[0].removeprefix('# ')}")
