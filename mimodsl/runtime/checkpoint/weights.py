"""Weights saved from one layout and loaded into any other."""

from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing

from mimodsl.builder.assembly import Assembly
from mimodsl.megatron.checkpoint_writer import results_in_process


def save_weights(assembly: Assembly, folder: Path) -> None:
    """Save every module's weights, sharded, into an existing empty folder.

    Collective over the world, whose ranks all see the folder.
    """
    megatron: Any = dist_checkpointing
    with results_in_process():
        megatron.save(sharded_weights(assembly), str(folder))


def load_weights(assembly: Assembly, folder: Path) -> None:
    """Load weights that `save_weights` wrote in this or another layout of the same modules.

    The optimizer takes them up as its master weights and keeps its moments. Collective over the
    world, whose ranks all see the folder.
    """
    loaded: Any = dist_checkpointing.load(wanted_weights(assembly), str(folder))
    give_weights(assembly, loaded)
    optimizer: Any = assembly.optimizer
    optimizer.reload_model_params()


def sharded_weights(assembly: Assembly) -> dict[str, Any]:
    """This rank's weights, each with its place in the whole, as megatron-core saves and loads."""
    model: Any = assembly.model
    return model.sharded_state_dict()


def wanted_weights(assembly: Assembly) -> dict[str, Any]:
    """As `sharded_weights`, without what modules of Transformer Engine have beside them.

    That is their state of fp8, of which no spec has any. The local kernels' norms save none, and a
    checkpoint is to be read with either.
    """
    weights = sharded_weights(assembly)
    return {key: part for key, part in weights.items() if not _is_beside(key)}


def give_weights(assembly: Assembly, loaded: dict[str, Any]) -> None:
    """Put what was loaded for `wanted_weights` into the model."""
    found: Any = assembly.model.load_state_dict(loaded, strict=False)
    keys: list[str] = [*found.missing_keys, *found.unexpected_keys]
    assert all(map(_is_beside, keys)), keys


def _is_beside(key: str) -> bool:
    return "_extra_state" in key
