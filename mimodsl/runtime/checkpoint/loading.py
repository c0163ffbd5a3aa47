"""Loads a checkpoint into an assembly of any layout of the same modules."""

from pathlib import Path
from typing import Any, cast

import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing import dict_utils
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.dist_checkpointing.state_dict_utils import load_preprocess
from torch.distributed.checkpoint.api import CheckpointException

from mimodsl.builder.assembly import Assembly
from mimodsl.builder.model import mimo_names
from mimodsl.ir.spec import Spec
from mimodsl.planner.transfer import left_out
from mimodsl.runtime.checkpoint.manifest import (
    Checkpoint,
    CheckpointError,
    LoadedCheckpoint,
    Manifest,
    Tensor,
)
from mimodsl.runtime.checkpoint.moments import set_moments, wanted_moments
from mimodsl.runtime.checkpoint.saving import tensor_of
from mimodsl.runtime.checkpoint.weights import give_weights, wanted_weights


def load(assembly: Assembly, checkpoint: Checkpoint) -> LoadedCheckpoint:
    """Bring weights, optimizer and learning rate to where a saved run was.

    A module that the saved run did not train keeps a fresh optimizer. Collective over the world,
    whose ranks all see the folder. Raises `CheckpointError`, which names the first key that is not
    in the checkpoint or has another shape, or what can't be read; then nothing should be trained.
    """
    manifest = checkpoint.manifest
    weights = wanted_weights(assembly)
    restored = restored_modules(assembly.spec, manifest)
    wanted = {"model": weights, "optimizer": wanted_moments(assembly, weights, restored)}
    _agree(_first_misfit(wanted, manifest), checkpoint.folder)
    try:
        loaded: Any = dist_checkpointing.load(wanted, str(checkpoint.folder))
    except (Exception, CheckpointException) as error:  # whatever damaged bytes make readers raise
        _agree(f"can't be read: {_cause(error)}", checkpoint.folder)
        raise
    _agree(None, checkpoint.folder)
    give_weights(assembly, loaded["model"])
    optimizer: Any = assembly.optimizer
    optimizer.reload_model_params()
    set_moments(assembly, loaded.get("optimizer", {}), manifest.updates)
    assembly.scheduler.step(manifest.scheduled - assembly.scheduler.num_steps)
    return LoadedCheckpoint(
        step=manifest.step,
        folder=checkpoint.folder,
        left_out=left_out(manifest.spec, assembly.spec),
        anew=_anew(assembly.spec, restored) if any(manifest.updates.values()) else (),
    )


def _anew(spec: Spec, restored: frozenset[str]) -> tuple[str, ...]:
    """The trained modules whose optimizer has no state from a checkpoint that has some."""
    keys = {name: key for name, key in mimo_names(spec).items() if key not in restored}
    parts = [(name, flow.projector if (flow := spec.flow_through(name)) else None) for name in keys]
    names = [name for pair in parts for name in pair if name]
    return tuple(name for name in names if not spec.module(name).frozen)


def restored_modules(spec: Spec, manifest: Manifest) -> frozenset[str]:
    """Which of megatron-core's modules get optimizer state from a checkpoint.

    Those that the saved run has stepped, and of which this spec trains nothing that it had frozen.
    """
    before, now = _trained(manifest.spec), _trained(spec)
    return frozenset(
        key for key, parts in now.items() if manifest.updates.get(key) and parts <= before[key]
    )


def _trained(spec: Spec) -> dict[str, frozenset[str]]:
    """The roles within each of megatron-core's modules that a spec trains."""
    trained: dict[str, frozenset[str]] = {}
    for name, key in mimo_names(spec).items():
        flow = spec.flow_through(name)
        parts = [name, flow.projector] if flow else [name]
        modules = [spec.module(part) for part in parts if part]
        trained[key] = frozenset(one.role.name for one in modules if not one.frozen)
    return trained


def _first_misfit(wanted: dict[str, Any], manifest: Manifest) -> str | None:
    """The first of this rank's keys, in order, that the checkpoint lacks or has in other shape."""
    here = {tensor.key: tensor_of(tensor) for tensor in _tensors(wanted)}
    misfits = (_misfit(key, here[key], manifest.tensors.get(key)) for key in sorted(here))
    return next((misfit for misfit in misfits if misfit), None)


def _misfit(key: str, here: Tensor, there: Tensor | None) -> str | None:
    if there is None:
        return f"has no {key}, which the spec needs as {here}"
    if there.shape != here.shape:
        return f"has {key} as {there}, the spec needs {here}"
    return None


def _cause(error: BaseException) -> str:
    """The first exception under those that the readers of torch wrap it in."""
    while isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return f"{type(error).__name__}: {error}"


def _tensors(wanted: dict[str, Any]) -> list[ShardedTensor]:
    """The tensors to load, as they stand in the checkpoint: some parameters are saved in parts."""
    preprocess: Any = load_preprocess
    flat, _, _ = preprocess(wanted)
    values: list[Any] = list(cast(Any, dict_utils).nested_values(flat))
    return [value for value in values if isinstance(value, ShardedTensor)]


def _agree(misfit: str | None, folder: Path) -> None:
    """Raise on every rank what the first of them has to say against the checkpoint."""
    everywhere: list[str | None] = [None] * dist.get_world_size()
    cast(Any, dist).all_gather_object(everywhere, misfit)
    found = next(((rank, said) for rank, said in enumerate(everywhere) if said), None)
    if found:
        rank, said = found
        raise CheckpointError(f"the checkpoint {folder} {said} (rank {rank})")
