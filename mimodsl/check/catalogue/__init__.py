"""What megatron-core refuses, gets wrong or waits for, place by place, and what becomes of it."""

from typing import Final

from mimodsl.check.catalogue.absent import ABSENT
from mimodsl.check.catalogue.edges import BESIDE, TOGETHER
from mimodsl.check.catalogue.encoders import ENCODERS, TOKENS
from mimodsl.check.catalogue.experts import EXPERTS, ROUTER
from mimodsl.check.catalogue.fact import (
    MEGATRON,
    Area,
    Disposition,
    Fact,
    Handled,
    Impossible,
    Limit,
    Ruled,
)
from mimodsl.check.catalogue.grids import COLLECTIONS, GRIDS, PLACEMENT
from mimodsl.check.catalogue.handed import HANDED
from mimodsl.check.catalogue.layers import TENSOR_PARALLEL
from mimodsl.check.catalogue.patterns import MAMBA
from mimodsl.check.catalogue.training import GRADIENTS, OPTIMIZERS, SCHEDULES

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
