"""Keeps what libraries print out of the terminal, and at hand for when something fails."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Generator
from pathlib import Path

from mimodsl.runtime.signals import temporary_folder


def redirect(log: Path) -> None:
    """Sends standard output and error, of C code too, to a file."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


@contextlib.contextmanager
def output_to(log: Path) -> Generator[None]:
    """`redirect` for the length of a block."""
    _flush()
    saved = os.dup(1), os.dup(2)
    redirect(log)
    try:
        yield
    finally:
        _flush()
        for number, original in enumerate(saved, start=1):
            os.dup2(original, number)
            os.close(original)


@contextlib.contextmanager
def captured_output(*, verbose: bool) -> Generator[Path | None]:
    """Keeps what libraries print in a log for the length of a block; `None` where it is `verbose`,
    which leaves the output alone."""
    if verbose:
        yield None
        return
    with temporary_folder() as folder, output_to(log := folder / "output"):
        yield log


@contextlib.contextmanager
def silent_warnings(*, active: bool = True) -> Generator[None]:
    """`silence_warnings` for the length of a block; nothing where it is not `active`."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        if active:
            silence_warnings()
        try:
            yield
        finally:
            logging.disable(disabled)


def silence_warnings() -> None:
    """Drops warnings, in this process and from now on: a log then ends with what went wrong."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def tail(log: Path, lines: int = 10) -> str:
    """The last lines of a log; empty where there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").rstrip().splitlines()[-lines:])


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
