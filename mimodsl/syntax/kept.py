"""Keeps the parser's tables from run to run: making them takes longer than reading a spec."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lark
from lark import Lark


def kept(grammar: str, make: Callable[[], Lark]) -> Lark:
    """The parser of a grammar: read back from an earlier run, else made, and kept for the next.

    The file's name has a digest of all that the tables depend on, so that a stale one is never
    read. Nothing is kept where there is no place for it.
    """
    file = _file(grammar)
    if file is None:
        return make()
    with suppress(Exception), file.open("rb") as tables:  # missing or damaged: it is made again
        return Lark.load(tables)  # pyright: ignore[reportUnknownMemberType]
    made = make()
    with suppress(OSError):
        _write(made, file)
    return made


def _file(grammar: str) -> Path | None:
    """In the user's cache folder; `None` where the user has no home."""
    of = (grammar, Path(__file__).with_name("grammar.py").read_text(encoding="utf-8"))
    key = "\0".join((*of, lark.__version__, sys.version))
    name = f"grammar-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pickle"
    folder = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(folder) if folder else Path.home() / ".cache") / "mimodsl" / name
    return None


def _write(made: Lark, file: Path) -> None:
    """Whole or not at all: other processes may be reading and writing the same file."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        temporary = Path(folder, file.name)
        with temporary.open("wb") as tables:
            made.save(tables)  # pyright: ignore[reportUnknownMemberType]
        temporary.replace(file)
