"""The streams that the command writes to, in colour on a terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def open_streams() -> None:
    """Opens standard streams that a parent has closed, and lets them take any text.

    Text that a stream can't encode, such as a file name that is not UTF-8, is written as escapes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Discards the unwritten output, since Python would fail when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def colorful(stream: TextIO) -> bool:
    """Whether a stream shows colour: a terminal that has it, unless NO_COLOR has a value."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console(stream: TextIO) -> Console:
    """A rich console on a stream: off a terminal, 120 columns without colour."""
    from rich.console import Console

    return Console(
        file=stream,
        highlight=False,
        no_color=not colorful(stream),
        width=None if stream.isatty() else 120,
    )


@contextmanager
def lasting_console(stream: TextIO) -> Generator[Console]:
    """A console that still writes to a stream's terminal while the stream itself is redirected."""
    copy = os.dup(stream.fileno())
    with os.fdopen(copy, "w", encoding="utf-8", errors="replace", buffering=1) as target:
        yield console(target)


def print_json(document: object) -> None:
    """Writes one JSON document to standard output."""
    import json

    print(json.dumps(document, indent=2, ensure_ascii=False))


def complain(*lines: str) -> None:
    """Writes lines to standard error; the word before the first colon is red on a terminal."""
    first, *rest = lines
    if colorful(sys.stderr):
        word, colon, message = first.partition(":")
        first = f"\x1b[1;31m{word}\x1b[0m{colon}{message}"
    try:
        sys.stdout.flush()
    except OSError:  # a full disk, which the lines may report
        drop_output()
    print("\n".join([first, *rest]), file=sys.stderr)
