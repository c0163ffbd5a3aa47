"""A cache on disk for the parser's tables: building them takes longer than reading a spec."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lark
from lark import Lark


def cached_parser(grammar: str, make: Callable[[], Lark]) -> Lark:
    """The parser of a grammar: loaded from the cache, or built and written to the cache.

    The file's name contains a digest of everything that the tables depend on, so a stale file is
    never loaded. Without a writable cache folder, the parser is built each time.
    """
    file = _cache_file(grammar)
    if file is None:
        return make()
    with suppress(Exception), file.open("rb") as tables:  # a missing or damaged file: build again
        return Lark.load(tables)  # pyright: ignore[reportUnknownMemberType]
    parser = make()
    with suppress(OSError):
        _write(parser, file)
    return parser


def _cache_file(grammar: str) -> Path | None:
    """The file in the user's cache folder; `None` for a user without a home."""
    inputs = (grammar, Path(__file__).with_name("grammar.py").read_text(encoding="utf-8"))
    key = "\0".join((*inputs, lark.__version__, sys.version))
    name = f"grammar-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pickle"
    folder = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(folder) if folder else Path.home() / ".cache") / "mimodsl" / name
    return None


def _write(parser: Lark, file: Path) -> None:
    """Replace the file in one step: other processes may read and write it, too."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        temporary = Path(folder, file.name)
        with temporary.open("wb") as tables:
            parser.save(tables)  # pyright: ignore[reportUnknownMemberType]
        temporary.replace(file)
