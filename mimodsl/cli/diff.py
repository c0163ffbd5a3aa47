"""`mimodsl diff`: shows how two specs differ, and which weights of one load into the other."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options

if TYPE_CHECKING:
    from mimodsl.ir.spec import Spec

_EPILOG = """\
A and B are specs, or folders of checkpoints, which hold specs. A difference belongs to the layout
(which rank computes what), to the model or to its training. Order and spelling in the files do not
matter. The command then shows for each module whether B can load the weights of a checkpoint of A.
It needs no torch and no GPU.

As in diff(1), the exit code is 0 if both are the same, 1 if they differ, and 2 if the command can
not compare them."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "diff",
        _run,
        help="show how two specs or checkpoints differ",
        epilog=_EPILOG,
    )
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), type=_existing, help="spec or checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _existing(text: str) -> Path:
    if not os.path.exists(text):  # noqa: PTH110 - pathlib raises for a name that is too long
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return Path(text)


def _run(args: argparse.Namespace) -> int:
    from mimodsl.cli import trouble

    a, b = _spec(args.a), _spec(args.b)
    if a is None or b is None:
        return trouble.ABNORMAL
    return _compare(a, b, args)


def _spec(path: Path) -> Spec | None:
    """The spec of a file or a checkpoint. Its mistakes go to standard error."""
    from mimodsl.cli import specs, trouble

    if path.is_dir():
        from mimodsl.runtime.checkpoint.folder import find
        from mimodsl.runtime.checkpoint.manifest import CheckpointError

        try:
            return find(path).manifest.spec
        except CheckpointError as error:
            raise trouble.UsageError(str(error)) from error
    return specs.sound_spec(argparse.Namespace(spec=path, overrides=[]))


def _compare(a: Spec, b: Spec, args: argparse.Namespace) -> int:
    import sys

    from mimodsl.cli import terminal
    from mimodsl.planner import difference
    from mimodsl.show import differences

    fields = difference.differences(a, b)
    if args.json:
        terminal.print_json(differences.document(a, b, fields))
    else:
        differences.show(a, b, fields, terminal.console(sys.stdout))
    return int(bool(fields))
