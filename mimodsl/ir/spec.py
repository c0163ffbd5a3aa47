"""The whole spec: what a `.mimo` file declares, with every name and value resolved."""

from collections.abc import Mapping
from typing import Any, cast

import attrs

from mimodsl.ir import transform
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Role
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node, holds, items, node
from mimodsl.ir.placement import PLACES, Place, Placed, rank_spans
from mimodsl.ir.projector import Between, Projector
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.train import Train
from mimodsl.ir.vision import Encoder


def _place(value: Any) -> Any:
    return Placed(grid=value) if isinstance(value, str) else value


@node
class Spec(Node):
    """A model, its grids and its training. `place` may be left out where one grid stands alone."""

    grids: tuple[Grid, ...] = attrs.field(converter=items, validator=holds(Grid))
    place: Place = attrs.field(converter=_place, validator=holds(*PLACES, many=False))
    modules: tuple[Module, ...] = attrs.field(converter=items, validator=holds(Module))
    flows: tuple[Flow, ...] = attrs.field(converter=items, validator=holds(Flow), default=())
    schedule: Schedule = attrs.field(validator=holds(Schedule, many=False))
    train: Train = attrs.field(validator=holds(Train, many=False), factory=Train)

    @cast(Any, place).default  # a `place` that pyright takes for a Place
    def _only_grid(self) -> Place:
        if len(self.grids) != 1:
            raise ValueError("Spec.place: may be left out only where there is one grid")
        return Placed(grid=self.grids[0].name)

    def __str__(self) -> str:
        """The spec as `.mimo` text."""
        from mimodsl.lower.printer import print_spec  # the printer imports this class

        return print_spec(self)

    def with_grid(self, name: str, **views: Any) -> "Spec":
        """This spec with views of a grid replaced: `spec.with_grid("llm", dense={"tp": 4})`.

        A view's axes are a mapping as in `Grid`; `None` takes a view away, a new name adds one.
        Raises `ValueError` for an unknown grid.
        """
        return transform.with_grid(self, name, views)

    def with_module(self, name: str, **fields: Any) -> "Spec":
        """This spec with fields of a module, or of its kind, set anew; mappings merge into blocks:
        `spec.with_module("language", pattern="ME*E", moe={"experts": 16})`.

        Raises `ValueError` for an unknown module or field, and for a value that it doesn't take.
        """
        return transform.with_module(self, name, fields)

    def with_schedule(self, **fields: Any) -> "Spec":
        """This spec with fields of its schedule set anew."""
        return attrs.evolve(self, schedule=transform.merged(self.schedule, fields), origin=None)

    def with_train(self, **fields: Any) -> "Spec":
        """This spec with fields of its training set anew, as `with_module` does."""
        return attrs.evolve(self, train=transform.merged(self.train, fields), origin=None)

    def substitute(self, values: Mapping[str, Any]) -> "Spec":
        """This spec with the values at some object paths, those of diagnostics, set anew:
        `spec.substitute({"modules.language.moe.experts": 16, "schedule.microbatches": 8})`.

        Raises `ValueError` for a path that leads nowhere, and for a value that doesn't fit.
        """
        return transform.substitute(self, values)

    def grid(self, name: str) -> Grid:
        """The grid of that name; `KeyError` without one."""
        return _named(self.grids, name)

    def module(self, name: str) -> Module:
        """The module of that name; `KeyError` without one."""
        return _named(self.modules, name)

    def grid_of(self, module: Module) -> Grid:
        return self.grid(module.grid)

    @property
    def language(self) -> Module:
        """The language model; `KeyError` without one."""
        for module in self.modules:
            if module.role is Role.LANGUAGE:
                return module
        raise KeyError("no module is a language model")

    def flow_through(self, module: str) -> Flow | None:
        """The flow that an encoder or projector belongs to."""
        return next((flow for flow in self.flows if module in flow.path[:-1]), None)

    def splits_sequence(self, module: Module) -> bool:
        """Whether each tp rank has its own part of a module's sequence outside of products."""
        return module.kind.splits_sequence(self.grid_of(module).size("tp"))

    @property
    def language_kind(self) -> LanguageModel:
        """The kind of the language model; `KeyError` without one."""
        kind = self.language.kind
        assert isinstance(kind, LanguageModel)
        return kind

    def encoder(self, flow: Flow) -> Encoder:
        """The kind of a flow's first module."""
        kind = self.module(flow.encoder).kind
        assert isinstance(kind, Encoder)
        return kind

    def between(self, flow: Flow) -> Between:
        """The place of a flow's projector, between its encoder and the language model."""
        return Between.of(self.encoder(flow), self.language_kind)

    def image_tokens(self, flow: Flow) -> int:
        """Tokens of one image as the language model gets them, each in place of a placeholder."""
        if flow.projector is None:
            return self.encoder(flow).tokens
        projector = self.module(flow.projector).kind
        assert isinstance(projector, Projector)
        return projector.tokens(self.between(flow))

    def sample_tokens(self, flow: Flow) -> int:
        """Placeholder tokens that the images of one sample need."""
        return flow.images * self.image_tokens(flow)

    @property
    def rank_spans(self) -> dict[str, range]:
        """The ranks of every grid."""
        return rank_spans(self.place, {grid.name: grid.world for grid in self.grids})

    @property
    def world(self) -> int:
        """The number of ranks."""
        return max(span.stop for span in self.rank_spans.values())

    @property
    def batch(self) -> int:
        """The samples of a step, over all replicas of the language model."""
        replicas = self.grid_of(self.language).size("dp")
        return self.schedule.micro_batch * self.schedule.microbatches * replicas


def _named[N: (Grid, Module)](nodes: tuple[N, ...], name: str) -> N:
    for candidate in nodes:
        if candidate.name == name:
            return candidate
    raise KeyError(name)
