"""The names that `mimodsl.runtime.checkpoint` offers."""

from mimodsl.runtime.checkpoint.folder import find
from mimodsl.runtime.checkpoint.loading import load
from mimodsl.runtime.checkpoint.manifest import Checkpoint, CheckpointError, Manifest, Saved
from mimodsl.runtime.checkpoint.saving import save
from mimodsl.runtime.checkpoint.weights import load_weights, results_in_process, save_weights

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Manifest",
    "Saved",
    "find",
    "load",
    "load_weights",
    "results_in_process",
    "save",
    "save_weights",
]
