"""Files to text. What cannot be read is a diagnostic."""

from pathlib import Path
from typing import Final

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.source import SourceFile, Span

MAX_BYTES: Final = 2**20


def source_of(text: str, path: str) -> SourceFile:
    """Text as a source; a byte order mark is no part of it."""
    return SourceFile(path, text.removeprefix("\ufeff"))


def read_source(path: Path, shown: str) -> SourceFile | Diagnostic:
    """Read a file that users know as `shown`."""
    try:
        if not path.exists():
            return _unreadable(shown, "there is no such file")
        if not path.is_file():
            return _unreadable(shown, "this is not a file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            return _unreadable(shown, f"{size:,} bytes, the limit is {MAX_BYTES:,}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _unreadable(shown, reason or "the file cannot be opened")
    try:
        return source_of(data.decode(), shown)
    except UnicodeDecodeError as error:
        return _not_utf8(data, shown, error)


def _unreadable(shown: str, reason: str) -> Diagnostic:
    return codes.UNREADABLE.at(
        Span(SourceFile(shown, ""), 0, 0), f"cannot read `{shown}`: {reason}"
    )


def _not_utf8(data: bytes, shown: str, error: UnicodeDecodeError) -> Diagnostic:
    source = source_of(data.decode(errors="replace"), shown)
    start = len(data[: error.start].decode().removeprefix("\ufeff"))
    return codes.NOT_UTF8.at(
        Span(source, start, start + 1), f"the byte 0x{data[error.start]:02x} is not UTF-8 text"
    )
