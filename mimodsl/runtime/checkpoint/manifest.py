"""What a checkpoint says of itself, in one JSON file: its step, its spec, its files and tensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from attrs import asdict, frozen

from mimodsl.ir.spec import Spec
from mimodsl.lower.document import as_document, from_document
from mimodsl.runtime.errors import RunError

MANIFEST: Final = "checkpoint.json"
FORMAT: Final = 1


class CheckpointError(RunError):
    """A checkpoint that can't be written or loaded; the message says which file or key, and why."""

    explained = True


@frozen(kw_only=True)
class Tensor:
    """A saved tensor as a whole, however it was spread over ranks."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


@frozen(kw_only=True)
class Manifest:
    """The content of `checkpoint.json`.

    `updates` counts the optimizer's steps of each of megatron-core's modules by its key; a module
    without any has no optimizer state. `scheduled` counts the steps of the learning rate's
    scheduler, which stands still where a gradient overflows. `files` are sizes in bytes by name.
    `versions` are those of the packages that wrote it.
    """

    step: int
    spec: Spec
    updates: dict[str, int]
    scheduled: int
    files: dict[str, int]
    tensors: dict[str, Tensor]
    versions: dict[str, str]

    def text(self) -> str:
        return json.dumps(
            {
                "format": FORMAT,
                "versions": self.versions,
                "step": self.step,
                "updates": self.updates,
                "scheduled": self.scheduled,
                "spec": str(self.spec),
                "document": as_document(self.spec),
                "files": self.files,
                "tensors": {key: asdict(tensor) for key, tensor in self.tensors.items()},
            },
            indent=1,
        )


@frozen(kw_only=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    folder: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes of all its files, the manifest left out."""
        return sum(self.manifest.files.values())


@frozen(kw_only=True)
class SavedCheckpoint:
    """A checkpoint that was written: its step, its folder, and its size in bytes."""

    step: int
    folder: Path
    size: int
    seconds: float


@frozen(kw_only=True)
class LoadedCheckpoint:
    """A checkpoint that was loaded.

    `left_out` are its modules that the spec has not; `anew` those whose optimizer starts anew.
    """

    step: int
    folder: Path
    left_out: tuple[str, ...]
    anew: tuple[str, ...]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint's folder.

    Raises `CheckpointError` where there is none, or where it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        found: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {MANIFEST}\n"
            "help: name a folder that `mimodsl build --save` wrote, or one of its checkpoints"
        ) from error
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    if not isinstance(found, Mapping) or "format" not in found:
        raise CheckpointError(f"{path} is not a checkpoint's manifest")
    document = cast("Mapping[str, Any]", found)
    if document["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {document['format']!r}, this mimodsl reads format {FORMAT}"
        )
    try:
        return _manifest(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged, or of another version: {error!r}") from error


def _manifest(document: Mapping[str, Any]) -> Manifest:
    return Manifest(
        step=int(document["step"]),
        spec=from_document(document["document"]),
        # Checkpoints from before there was a scheduler do not say.
        scheduled=int(document.get("scheduled", document["step"])),
        updates={key: int(count) for key, count in document["updates"].items()},
        files={name: int(size) for name, size in document["files"].items()},
        tensors={
            key: Tensor(shape=tuple(tensor["shape"]), dtype=tensor["dtype"])
            for key, tensor in document["tensors"].items()
        },
        versions=dict(document["versions"]),
    )
