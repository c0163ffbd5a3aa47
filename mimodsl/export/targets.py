"""All that a spec can be exported to; a new target is one file and its line here."""

from typing import Final

from mimodsl.export.json import JSON
from mimodsl.export.megatron_args import MEGATRON_ARGS
from mimodsl.export.python import PYTHON
from mimodsl.export.slurm import SLURM
from mimodsl.export.target import Target
from mimodsl.export.torchrun import TORCHRUN

TARGETS: Final[tuple[Target, ...]] = (TORCHRUN, SLURM, PYTHON, JSON, MEGATRON_ARGS)


def target(name: str) -> Target:
    """The target of that name; `KeyError` without one."""
    return {each.name: each for each in TARGETS}[name]
