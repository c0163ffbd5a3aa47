"""All that a spec can be exported to; a new target is one file and its line here."""

from typing import Final

from mimodsl.diagnostics.suggest import unknown
from mimodsl.exporter.json import JSON
from mimodsl.exporter.megatron_args import MEGATRON_ARGS
from mimodsl.exporter.python import PYTHON
from mimodsl.exporter.slurm import SLURM
from mimodsl.exporter.target import Target
from mimodsl.exporter.torchrun import TORCHRUN

TARGETS: Final[tuple[Target, ...]] = (TORCHRUN, SLURM, PYTHON, JSON, MEGATRON_ARGS)


def target(name: str) -> Target:
    """The target of that name. Raises `ValueError` for an unknown one."""
    for each in TARGETS:
        if each.name == name:
            return each
    raise ValueError(unknown("target", name, [each.name for each in TARGETS]))
