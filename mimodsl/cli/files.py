"""Reads files, shows their changes, and writes each file completely or not at all."""

import contextlib
import difflib
import errno
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

from mimodsl.cli.trouble import UsageError


def read(path: Path) -> str:
    """The text of a file with its line breaks unchanged. Raises `UsageError` if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})") from error


def diff(path: str, before: str, after: str, word: str) -> str:
    """The change of a file as a unified diff; `word` says what it is afterwards: `formatted`."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, path, f"{path} {word}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def replace(path: Path, text: str) -> None:
    """Replaces the text of a file. Readers see either the old text or the new one, never a part.

    Mode and owner stay. For a symbolic link, this replaces the file that it points to.
    """
    _replace(path, (text,))


def _replace(path: Path, pieces: Iterable[str]) -> None:
    target = path.resolve(strict=True)
    with _written(target, pieces) as temporary:
        shutil.copymode(target, temporary)
        status = target.stat()
        with contextlib.suppress(PermissionError):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(target)


def create(path: Path, text: str) -> None:
    """Writes a new file, completely or not at all. Raises `FileExistsError` if it exists."""
    with _written(path, (text,)) as temporary:
        temporary.chmod(0o666 & ~_umask())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.replace(path)


def write(path: Path, text: str) -> None:
    """Writes or replaces a file, completely or not at all. Also writes to a device or pipe."""
    write_pieces(path, (text,))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """As `write`, for a text in pieces, of which only one is in memory at a time."""
    if path.is_file():
        _replace(path, pieces)
    elif path.exists():
        with _errors_of(path), path.open("w", encoding="utf-8") as device:
            device.writelines(pieces)
    else:
        with _written(path, pieces) as temporary:
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)


@contextlib.contextmanager
def _written(target: Path, pieces: Iterable[str]) -> Generator[Path]:
    """A temporary file beside the target that holds the text, for the length of a block."""
    with _errors_of(target):
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with _errors_of(target), os.fdopen(descriptor, "wb") as temporary:
            temporary.writelines(piece.encode("utf-8") for piece in pieces)
            temporary.flush()
            os.fsync(temporary.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _errors_of(target: Path) -> Generator[None]:
    """Makes errors in the block name this file. The error for a full disk names no file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _umask() -> int:
    """The umask of this process. Only setting it gives its old value."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
