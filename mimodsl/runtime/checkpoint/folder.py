"""The folder of a run's checkpoints, in which only whole ones are ever seen.

A checkpoint is written into a hidden folder, made durable, and renamed; then the file `latest`,
which names the one to go on from, is replaced. Each of the two takes effect at once or not at all.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mimodsl.runtime.checkpoint.manifest import (
    MANIFEST,
    Checkpoint,
    CheckpointError,
    Manifest,
    read_manifest,
)
from mimodsl.runtime.unfinished_files import UNFINISHED, remove_unfinished

LATEST: Final = "latest"
_STEP: Final = re.compile(r"step-(\d{8,})(?:\.\d+)?")


def find(path: Path) -> Checkpoint:
    """The checkpoint at a path: of a run's folder the latest one, else the one in that very folder.

    Raises `CheckpointError` where there is none, or where files are missing or cut short. What they
    hold is not read.
    """
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint at {path}: no such folder")
    folder = path if (path / MANIFEST).exists() else _latest(path)
    checkpoint = Checkpoint(folder=folder, manifest=read_manifest(folder))
    for name, size in checkpoint.manifest.files.items():
        _require(folder / name, size)
    return checkpoint


def latest(root: Path) -> Path | None:
    """The checkpoint that a run's folder says to go on from; `None` while it has none."""
    try:
        name = (root / LATEST).read_text().strip()
    except OSError:
        return None
    return root / name if _STEP.fullmatch(name) else None


def has_any(root: Path) -> bool:
    """Whether a run has saved a checkpoint in its folder, named the latest one or not."""
    return latest(root) is not None or any(_checkpoints(root))


def _latest(root: Path) -> Path:
    named = latest(root)
    if named is not None:
        return named
    whole = sorted(_checkpoints(root))
    others = f": name one of them, such as {whole[-1]}" if whole else ""
    raise CheckpointError(
        f"there is no checkpoint at {root}: the file {LATEST} is missing or names none{others}\n"
        "help: name a folder that `mimodsl build --save` wrote, or one of its checkpoints"
    )


def _require(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {path.parent} is not whole: {path.name}: {error.strerror}"
        ) from error
    if found != size:
        raise CheckpointError(
            f"the checkpoint {path.parent} is not whole: {path.name} has {found:,} bytes, "
            f"and had {size:,} when it was saved"
        )


def prepare(root: Path) -> None:
    """Make a run's folder, which may be there already.

    Raises `CheckpointError` where that can't be done, or nothing can be written into it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=UNFINISHED, dir=root):
            pass
    except OSError as error:
        raise CheckpointError(f"checkpoints can't be saved to {root}: {error.strerror}") from error


def begin(root: Path) -> Path:
    """A new hidden folder for one checkpoint; what killed saves have left over is removed.

    One run at a time writes into a folder. Raises `OSError`.
    """
    remove_unfinished(root)
    unfinished = root / Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root)).name
    unfinished.chmod(0o777 & ~_umask())
    return unfinished


def commit(unfinished: Path, manifest: Manifest) -> Path:
    """Make a written checkpoint durable and the latest one; returns its folder.

    An earlier checkpoint of the same step goes once nothing names it. Raises `OSError`.
    """
    root = unfinished.parent
    (unfinished / "spec.mimo").write_text(str(manifest.spec))
    (unfinished / MANIFEST).write_text(manifest.text())
    for file in unfinished.iterdir():
        _make_durable(file)
    _make_durable(unfinished)
    superseded = [path for path in _checkpoints(root) if step_of(path) == manifest.step]
    folder = _free_name(root, manifest.step)
    unfinished.rename(folder)
    _make_durable(root)
    _name_latest(root, folder)
    for path in superseded:
        shutil.rmtree(path.rename(root / f"{UNFINISHED}{path.name}"))
    return folder


def step_of(folder: Path) -> int | None:
    """The step in the name of a checkpoint's folder."""
    found = _STEP.fullmatch(folder.name)
    return int(found[1]) if found else None


def _checkpoints(root: Path) -> Iterator[Path]:
    return (path for path in root.glob("step-*") if step_of(path) is not None)


def _free_name(root: Path, step: int) -> Path:
    """`step-00000020`, or with a number behind it where that stands already.

    A folder can't be replaced by another at once, but `latest` can.
    """
    folder, again = root / f"step-{step:08}", 0
    while folder.exists():
        again += 1
        folder = root / f"step-{step:08}.{again}"
    return folder


def _name_latest(root: Path, folder: Path) -> None:
    written = root / f"{UNFINISHED}{LATEST}"
    written.write_text(f"{folder.name}\n")
    _make_durable(written)
    written.replace(root / LATEST)
    _make_durable(root)


def _make_durable(path: Path) -> None:
    """Have the disk hold a file's content, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
