"""Where the command writes, and whether in colour."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def colorful(stream: TextIO) -> bool:
    """Colour is for terminals that have it, unless NO_COLOR is set (to anything but nothing)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console(stream: TextIO) -> Console:
    """A rich console on a stream; what isn't a terminal gets lines of any length, uncoloured."""
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


def complain(*lines: str) -> None:
    """Writes lines to standard error; the word before the first colon is red on a terminal."""
    first, *rest = lines
    if colorful(sys.stderr):
        word, colon, message = first.partition(":")
        first = f"\x1b[1;31m{word}\x1b[0m{colon}{message}"
    sys.stdout.flush()
    print("\n".join([first, *rest]), file=sys.stderr)
