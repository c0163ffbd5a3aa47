"""Where the command writes, and whether in colour."""

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
    """Makes the standard streams take any text, and be there: a parent may have closed them.

    What a stream cannot encode, such as a file's name that is no UTF-8, is written in escapes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """What is still to be written goes nowhere: Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def colorful(stream: TextIO) -> bool:
    """Colour is for terminals that have it, unless NO_COLOR is set (to anything but nothing)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console(stream: TextIO) -> Console:
    """A rich console on a stream; what isn't a terminal gets 120 columns, uncoloured."""
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
    except OSError:  # a full disk, of which the lines may tell
        drop_output()
    print("\n".join([first, *rest]), file=sys.stderr)
