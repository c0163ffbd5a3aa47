"""Grids as megatron-core's HyperCommGrid takes them."""

from collections.abc import Iterable
from typing import Final

from mimodsl.planner.grids import GridPlan
from mimodsl.planner.program.values import RankGrid, View

_MEGATRON_AXES: Final = {"etp": "expt_tp", "edp": "expt_dp"}
"""The axes that megatron-core's optimizer knows by another name (models/mimo/optimizer.py,
"def _get_pg_collection_for_optimizer")."""


def megatron_axes(names: Iterable[str]) -> list[str]:
    """Our axis names in megatron-core's words."""
    return [_MEGATRON_AXES.get(name, name) for name in names]


def rank_grid(plan: GridPlan) -> RankGrid:
    """A grid with all its views."""
    return RankGrid(
        offset=plan.offset,
        sizes=list(plan.base.sizes),
        axes=megatron_axes(plan.base.names),
        views=[
            View(
                name=view.name,
                sizes=list(view.layout.sizes),
                axes=megatron_axes(view.layout.names),
                shared=megatron_axes(view.shared),
            )
            for view in plan.views[1:]
        ],
        has_experts=not plan.expert_implied,
    )
