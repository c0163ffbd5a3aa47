"""Keeps what libraries print out of the terminal, and at hand for when something fails."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Generator
from pathlib import Path


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
