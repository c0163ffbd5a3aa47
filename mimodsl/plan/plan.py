"""The plan: what a spec comes to on every rank of its world, worked out without any of them."""

from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from mimodsl.ir.spec import Spec
from mimodsl.plan.bridges import BridgePlan, bridge_groups, bridge_plans
from mimodsl.plan.grids import GridPlan, grid_plans
from mimodsl.plan.groups import GroupPlan, grid_groups


class Layout(Enum):
    """How grids lie to each other (models/mimo/config/role.py:86)."""

    SINGLE = "single"
    COLOCATED = "colocated"
    NON_COLOCATED = "non-colocated"


@frozen(kw_only=True)
class Plan:
    """A spec's layout. Everything here is small, whatever the world's size; ranks are asked for."""

    spec: Spec
    world: int
    grids: tuple[GridPlan, ...]
    bridges: tuple[BridgePlan, ...]

    def grid(self, name: str) -> GridPlan:
        """The grid of that name; `KeyError` without one."""
        for grid in self.grids:
            if grid.name == name:
                return grid
        raise KeyError(name)

    @property
    def layout(self) -> Layout:
        if not self.bridges:
            return Layout.SINGLE
        together = all(bridge.colocated for bridge in self.bridges)
        return Layout.COLOCATED if together else Layout.NON_COLOCATED

    def groups(self) -> Iterator[GroupPlan]:
        """Every group by name, in the order in which all ranks make them."""
        for grid in self.grids:
            yield from grid_groups(grid)
        yield from bridge_groups(self.bridges)


def plan(spec: Spec) -> Plan:
    """The plan of a spec that passes `mimodsl.check`."""
    grids = grid_plans(spec)
    return Plan(
        spec=spec,
        world=spec.world,
        grids=grids,
        bridges=bridge_plans(spec, {grid.name: grid for grid in grids}),
    )
