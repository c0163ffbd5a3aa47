"""Reads a file as it is, and writes one whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from mimodsl.cli.trouble import UsageError


def read(path: Path) -> str:
    """The text of a file, its line breaks untouched. Raises `UsageError` where it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})") from error


def replace(path: Path, text: str) -> None:
    """Replaces what a file holds: readers see the old text or the new, never a part.

    Mode and owner stay; where the path is a symbolic link, what it points to is replaced.
    """
    target = path.resolve(strict=True)
    with _written(target, text) as temporary:
        shutil.copymode(target, temporary)
        status = target.stat()
        with contextlib.suppress(PermissionError):
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(target)


def create(path: Path, text: str) -> None:
    """Makes a file of a text, whole or not at all. Raises `FileExistsError` where there is one."""
    with _written(path, text) as temporary:
        temporary.chmod(0o666 & ~_umask())
        path.hardlink_to(temporary)


@contextlib.contextmanager
def _written(target: Path, text: str) -> Generator[Path]:
    """The text in a temporary file beside its target, gone after the block."""
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:  # in the words of the file that was asked for
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(text.encode("utf-8"))
            temporary.flush()
            os.fsync(temporary.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    """What a new file's mode lacks here; it can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
