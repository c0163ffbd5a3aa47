"""What tests ask of files."""

from pathlib import Path


def as_written(path: Path) -> tuple[int, int, int, int]:
    """The state of a file or folder: of all but when it was last read."""
    state = path.stat()
    return state.st_ino, state.st_mode, state.st_mtime_ns, state.st_ctime_ns
