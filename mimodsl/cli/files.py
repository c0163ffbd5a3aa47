"""Reads a file as it is, and replaces one whole or not at all."""

import contextlib
import os
import shutil
import tempfile
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
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(text.encode("utf-8"))
            temporary.flush()
            os.fsync(temporary.fileno())
        shutil.copymode(target, name)
        status = target.stat()
        with contextlib.suppress(PermissionError):
            os.chown(name, status.st_uid, status.st_gid)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
