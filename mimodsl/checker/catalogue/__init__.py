"""What megatron-core refuses, gets wrong or waits for, place by place, and what becomes of it."""

from typing import Final

from mimodsl.checker.catalogue.absent import ABSENT
from mimodsl.checker.catalogue.edges import BESIDE, TOGETHER
from mimodsl.checker.catalogue.encoders import ENCODERS, TOKENS
from mimodsl.checker.catalogue.experts import EXPERTS, ROUTER
from mimodsl.checker.catalogue.fact import (
    MEGATRON,
    Area,
    Disposition,
    Fact,
    Handled,
    Impossible,
    Limit,
    Ruled,
)
from mimodsl.checker.catalogue.grids import COLLECTIONS, GRIDS, PLACEMENT
from mimodsl.checker.catalogue.handed import HANDED
from mimodsl.checker.catalogue.layers import TENSOR_PARALLEL
from mimodsl.checker.catalogue.patterns import MAMBA
from mimodsl.checker.catalogue.training import GRADIENTS, OPTIMIZERS, SCHEDULES

AREAS: Final[tuple[Area, ...]] = (
    GRIDS,
    COLLECTIONS,
    PLACEMENT,
    TENSOR_PARALLEL,
    MAMBA,
    EXPERTS,
    ROUTER,
    ENCODERS,
    TOKENS,
    BESIDE,
    TOGETHER,
    SCHEDULES,
    GRADIENTS,
    OPTIMIZERS,
    HANDED,
    ABSENT,
)

__all__ = [
    "AREAS",
    "MEGATRON",
    "Area",
    "Disposition",
    "Fact",
    "Handled",
    "Impossible",
    "Limit",
    "Ruled",
]
