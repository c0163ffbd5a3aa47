"""Reads files as text. A file that cannot be read gives a diagnostic."""

from pathlib import Path
from typing import BinaryIO, Final

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.limits import MAX_CHARACTERS
from mimodsl.source import SourceFile, Span

STANDARD_INPUT: Final = Path("-")
JSON: Final = ".json"
"""The suffix of files that contain a spec as a JSON document."""


def source_of(text: str, path: str) -> SourceFile:
    """A source file of this text, without its byte order mark."""
    return SourceFile(path, text.removeprefix("\ufeff"))


def read_source(path: Path, shown: str) -> SourceFile | Diagnostic:
    """Read a file. Users see it under the name `shown`."""
    try:
        if not path.exists():
            return _unreadable(shown, "there is no such file")
        if not path.is_file():
            return _unreadable(shown, "this is not a file")
        with path.open("rb") as file:
            return read_stream(file, shown)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _unreadable(shown, reason or "the file cannot be opened")


def read_stream(stream: BinaryIO, shown: str) -> SourceFile | Diagnostic:
    """Read an open file, at most as much as a spec may have. Raises `OSError`."""
    data = stream.read(MAX_CHARACTERS + 1)
    if len(data) > MAX_CHARACTERS:
        return _unreadable(shown, f"it has more than {MAX_CHARACTERS:,} bytes")
    return decoded(data, shown)


def decoded(data: bytes, shown: str) -> SourceFile | Diagnostic:
    """The text of a file that users see under the name `shown`."""
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
