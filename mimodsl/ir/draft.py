"""A draft: the sound declarations of a text; others may be broken or missing."""

import attrs

from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Grid
from mimodsl.ir.module import Module
from mimodsl.ir.node import Origin
from mimodsl.ir.placement import Place
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Train


@attrs.frozen(kw_only=True)
class Draft:
    """What the checker checks, so that one broken declaration hides no mistake in another.

    An unknown name belongs to a broken or unknown declaration, which has its own diagnostic. So
    rules report nothing that follows from an unknown name.
    """

    grids: tuple[Grid, ...] = ()
    place: Place | None = None
    modules: tuple[Module, ...] = ()
    flows: tuple[Flow, ...] = ()
    schedule: Schedule | None = None
    train: Train | None = None
    complete: bool = False

    @classmethod
    def from_spec(cls, spec: Spec) -> "Draft":
        """The draft of a complete spec."""
        return cls(
            grids=spec.grids,
            place=spec.place,
            modules=spec.modules,
            flows=spec.flows,
            schedule=spec.schedule,
            train=spec.train,
            complete=True,
        )

    def to_spec(self, origin: Origin | None = None) -> Spec:
        """The spec of a complete draft."""
        assert self.place is not None
        assert self.schedule is not None
        assert self.train is not None
        return Spec(
            grids=self.grids,
            place=self.place,
            modules=self.modules,
            flows=self.flows,
            schedule=self.schedule,
            train=self.train,
            origin=origin,
        )

    def grid(self, name: str) -> Grid | None:
        return next((grid for grid in self.grids if grid.name == name), None)

    def module(self, name: str) -> Module | None:
        return next((module for module in self.modules if module.name == name), None)
