"""The specs that a command line names: files, folders and standard input."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from mimodsl.cli.trouble import UsageError
from mimodsl.diagnostics import Diagnostic
from mimodsl.source import SourceFile
from mimodsl.syntax.reader import JSON, STANDARD_INPUT, read_source, read_stream

_SUFFIX: Final = ".mimo"


def specs_of(named: Iterable[Path]) -> list[Path]:
    """Each file once; for a folder, all `.mimo` files below it, except in hidden folders.

    Raises `UsageError` for a folder without such files.
    """
    files: dict[str, Path] = {}
    for path in named:
        for file in _below(path) if path.is_dir() else [path]:
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def _below(folder: Path) -> list[Path]:
    files = sorted(_walk(folder))
    if not files:
        raise UsageError(f"there is no {_SUFFIX} file in {folder}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in files if name.endswith(_SUFFIX))


def refuse_set(paths: Iterable[Path], overrides: Iterable[tuple[str, str]]) -> None:
    """Raise `UsageError` for `--set` with a JSON document, which has no constants."""
    for name, _ in overrides:
        for path in paths:
            if path.suffix == JSON:
                raise UsageError(f"--set {name}: {path} is JSON, which has no `let`")


def read(path: Path) -> SourceFile | Diagnostic:
    """The text of a file or, for `-`, of standard input."""
    if path == STANDARD_INPUT:
        return read_stream(sys.stdin.buffer, "<stdin>")
    return read_source(path, str(path))
