"""The names that `mimodsl.runtime.checkpoint` offers."""

from mimodsl.runtime.checkpoint.folder import find, latest, prepare
from mimodsl.runtime.checkpoint.loading import load
from mimodsl.runtime.checkpoint.manifest import Checkpoint, CheckpointError, Loaded, Manifest, Saved
from mimodsl.runtime.checkpoint.saving import save
from mimodsl.runtime.checkpoint.weights import load_weights, results_in_process, save_weights

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Loaded",
    "Manifest",
    "Saved",
    "find",
    "latest",
    "load",
    "load_weights",
    "prepare",
    "results_in_process",
    "save",
    "save_weights",
]
