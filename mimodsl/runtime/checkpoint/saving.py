"""Saves a whole run: every module, the optimizer and the spec, in one checkpoint."""

import contextlib
import time
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch.distributed as dist
from megatron.core import dist_checkpointing
from torch.distributed.checkpoint.api import CheckpointException

from mimodsl._version import __version__
from mimodsl.builder.assembly import Assembly
from mimodsl.builder.model import modules_of
from mimodsl.megatron.checkpoint_writer import results_in_process
from mimodsl.runtime.checkpoint.folder import begin, commit
from mimodsl.runtime.checkpoint.manifest import CheckpointError, Manifest, SavedCheckpoint, Tensor
from mimodsl.runtime.checkpoint.moments import sharded_moments, updates
from mimodsl.runtime.checkpoint.weights import sharded_weights


def save(assembly: Assembly, root: Path, step: int) -> SavedCheckpoint:
    """Save everything that a run after `step` steps needs to go on, into a folder of checkpoints.

    Collective over the world, whose ranks all see the folder. Returns the same on every rank.
    Raises `CheckpointError` where it can't be written; what the folder held stays loadable.
    """
    start = time.perf_counter()
    with _failures(root, step):
        unfinished = Path(_from_first(lambda: str(begin(root))))
        counts = _merged(updates(assembly))
        trained = frozenset(name for name, count in counts.items() if count)
        _gather_parameters(assembly)
        weights = sharded_weights(assembly)
        state = {"model": weights, "optimizer": sharded_moments(assembly, weights, trained)}
        megatron: Any = dist_checkpointing
        with results_in_process():
            megatron.save(state, str(unfinished))
        folder, size = _from_first(lambda: _committed(unfinished, assembly, step, counts))
    seconds = time.perf_counter() - start
    return SavedCheckpoint(step=step, folder=Path(folder), size=size, seconds=seconds)


def _committed(
    unfinished: Path, assembly: Assembly, step: int, counts: dict[str, int]
) -> tuple[str, int]:
    megatron: Any = dist_checkpointing
    tensors = megatron.load_tensors_metadata(str(unfinished))
    manifest = Manifest(
        step=step,
        spec=assembly.spec,
        updates=counts,
        scheduled=assembly.scheduler.num_steps,
        files={file.name: file.stat().st_size for file in sorted(unfinished.iterdir())},
        tensors={key: tensor_of(tensors[key]) for key in sorted(tensors)},
        versions={"mimodsl": __version__}
        | {package: version(package) for package in ("megatron-core", "torch")},
    )
    return str(commit(unfinished, manifest)), sum(manifest.files.values())


def tensor_of(sharded: Any) -> Tensor:
    """Shape and type of the whole of which a rank holds a shard."""
    dtype = str(sharded.dtype).removeprefix("torch.")
    return Tensor(shape=tuple(sharded.global_shape), dtype=dtype)


def _gather_parameters(assembly: Assembly) -> None:
    """Bring every rank's weights up to date: overlapped gathers come in the next forward pass."""
    if assembly.spec.train.ddp.overlap_param_gather:
        for module in modules_of(assembly.model).values():
            module.start_param_sync(force_sync=True)


def _merged(counts: dict[str, int]) -> dict[str, int]:
    """The counts of all ranks' modules, the same on every rank."""
    everywhere: list[dict[str, int]] = [{}] * dist.get_world_size()
    cast(Any, dist).all_gather_object(everywhere, counts)
    merged: dict[str, int] = {}
    for found in everywhere:
        for name, count in found.items():
            merged[name] = max(count, merged.get(name, 0))
    return dict(sorted(merged.items()))


def _from_first(work: Any) -> Any:
    """What the first rank's work gives; where it raises an `OSError`, every rank does."""
    outcome: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            outcome = [work()]
        except OSError as error:
            outcome = [error]
    cast(Any, dist).broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


@contextlib.contextmanager
def _failures(root: Path, step: int) -> Generator[None]:
    """Say of what goes wrong while writing that the save failed, and why."""
    try:
        yield
    except CheckpointException as error:  # a BaseException
        raise CheckpointError(_not_saved(root, step, _first_failure(error))) from error
    except OSError as error:
        raise CheckpointError(_not_saved(root, step, str(error))) from error


def _not_saved(root: Path, step: int, why: str) -> str:
    return f"step {step} could not be saved to {root}\n  {why}"


def _first_failure(error: CheckpointException) -> str:
    """Which rank could not write, and why; megatron-core tells the first rank alone.

    Its own words stand before the reason, and end with `error: `.
    """
    found = [
        f"rank {rank}: {str(failure[0]).rpartition('error: ')[2]}"
        for rank, failure in sorted(error.failures.items())
    ]
    told: list[Any] = [found[0] if found else "a rank could not write"]
    cast(Any, dist).broadcast_object_list(told, src=0)
    return told[0]
