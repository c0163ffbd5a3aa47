"""A draft: the declarations of a text that are whole, while others may be broken or missing."""

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
    """What the checker works on, so that one broken declaration hides no mistake in another.

    A name that is looked up and not found belongs to a broken or unknown declaration, which has
    its own diagnostic: whatever follows from it is silent.
    """

    grids: tuple[Grid, ...] = ()
    place: Place | None = None
    modules: tuple[Module, ...] = ()
    flows: tuple[Flow, ...] = ()
    schedule: Schedule | None = None
    train: Train | None = None
    complete: bool = False

    @classmethod
    def of(cls, spec: Spec) -> "Draft":
        """The draft of a spec in which nothing is broken."""
        return cls(
            grids=spec.grids,
            place=spec.place,
            modules=spec.modules,
            flows=spec.flows,
            schedule=spec.schedule,
            train=spec.train,
            complete=True,
        )

    def whole(self, origin: Origin | None = None) -> Spec:
        """The spec of a draft that misses nothing."""
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
