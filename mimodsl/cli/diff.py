"""`mimodsl diff`: what differs between two specs or checkpoints, and what of one loads."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimodsl.cli import options

if TYPE_CHECKING:
    from mimodsl.ir.spec import Spec

_EPILOG = """\
A and B are specs, or folders of checkpoints, whose specs are compared. Differences are of layout
(where things are computed), of the model, or of its training; how a spec is written does not count.
Then it says, module by module, whether B could load the weights of a checkpoint of A. Needs no
torch and no GPU.

As diff(1) it exits with 0 where both are the same, 1 where they differ, 2 in case of trouble."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands,
        "diff",
        _run,
        help="say what differs between two specs or checkpoints",
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
    """The spec of a file or of a checkpoint; standard error says what is wrong with it."""
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

    found = difference.differences(a, b)
    if args.json:
        terminal.print_json(differences.document(a, b, found))
    else:
        differences.show(a, b, found, terminal.console(sys.stdout))
    return int(bool(found))
