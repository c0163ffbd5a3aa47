"""The complete spec: the declarations of a `.mimo` file with all names and values resolved."""

from collections.abc import Mapping
from typing import Any, cast

import attrs

from mimodsl.ir import transform
from mimodsl.ir.axes import DP, TP
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
    """A model, its grids and its training. `place` may be omitted if there is only one grid."""

    grids: tuple[Grid, ...] = attrs.field(converter=items, validator=holds(Grid))
    place: Place = attrs.field(converter=_place, validator=holds(*PLACES, many=False))
    modules: tuple[Module, ...] = attrs.field(converter=items, validator=holds(Module))
    flows: tuple[Flow, ...] = attrs.field(converter=items, validator=holds(Flow), default=())
    schedule: Schedule = attrs.field(validator=holds(Schedule, many=False))
    train: Train = attrs.field(validator=holds(Train, many=False), factory=Train)

    @cast(Any, place).default  # a `place` that pyright takes for a Place
    def _only_grid(self) -> Place:
        if len(self.grids) != 1:
            raise ValueError("Spec.place: may be left out only if there is one grid")
        return Placed(grid=self.grids[0].name)

    def __str__(self) -> str:
        """The spec as `.mimo` text."""
        from mimodsl.lower.printer import print_spec  # the printer imports this class

        return print_spec(self)

    def with_grid(self, name: str, **views: Any) -> "Spec":
        """This spec with some views of a grid changed: `spec.with_grid("llm", dense={"tp": 4})`.

        The axes of a view are a mapping, as in `Grid`. `None` removes a view; a new name adds one.
        Raises `ValueError` for an unknown grid.
        """
        return transform.with_grid(self, name, views)

    def with_module(self, name: str, **fields: Any) -> "Spec":
        """This spec with some fields of a module or of its kind changed:
        `spec.with_module("language", pattern="ME*E", moe={"experts": 16})`. A mapping changes
        single fields of a block.

        Raises `ValueError` for an unknown module or field, and for a value that a field does not
        accept.
        """
        return transform.with_module(self, name, fields)

    def with_schedule(self, **fields: Any) -> "Spec":
        """This spec with some fields of its schedule changed."""
        return attrs.evolve(self, schedule=transform.merged(self.schedule, fields), origin=None)

    def with_train(self, **fields: Any) -> "Spec":
        """This spec with some fields of its training changed; mappings as in `with_module`."""
        return attrs.evolve(self, train=transform.merged(self.train, fields), origin=None)

    def substitute(self, values: Mapping[str, Any]) -> "Spec":
        """This spec with the values at some object paths changed:
        `spec.substitute({"modules.language.moe.experts": 16, "schedule.microbatches": 8})`.
        Diagnostics use the same paths.

        Raises `ValueError` for an unknown path, and for a value that a field does not accept.
        """
        return transform.substitute(self, values)

    def grid(self, name: str) -> Grid:
        """The grid with this name. Raises `KeyError` for an unknown name."""
        return _named(self.grids, name)

    def module(self, name: str) -> Module:
        """The module with this name. Raises `KeyError` for an unknown name."""
        return _named(self.modules, name)

    def grid_of(self, module: Module) -> Grid:
        return self.grid(module.grid)

    @property
    def language(self) -> Module:
        """The language model. Raises `KeyError` if there is none."""
        for module in self.modules:
            if module.role is Role.LANGUAGE:
                return module
        raise KeyError("no module is a language model")

    def flow_through(self, module: str) -> Flow | None:
        """The flow of an encoder or projector; `None` if it is in no flow."""
        return next((flow for flow in self.flows if module in flow.path[:-1]), None)

    def splits_sequence(self, module: Module) -> bool:
        """Whether each tp rank holds only its part of the module's sequence between products."""
        return module.kind.splits_sequence(self.grid_of(module).size(TP))

    @property
    def language_kind(self) -> LanguageModel:
        """The kind of the language model. Raises `KeyError` if there is none."""
        kind = self.language.kind
        assert isinstance(kind, LanguageModel)
        return kind

    def encoder(self, flow: Flow) -> Encoder:
        """The kind of a flow's first module."""
        kind = self.module(flow.encoder).kind
        assert isinstance(kind, Encoder)
        return kind

    def between(self, flow: Flow) -> Between:
        """The inputs and outputs of a flow's projector, given by its two neighbours."""
        return Between.of(self.encoder(flow), self.language_kind)

    def image_tokens(self, flow: Flow) -> int:
        """Tokens of one image in the language model; each takes the place of a placeholder."""
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
        """The number of samples of a step, over all replicas of the language model."""
        replicas = self.grid_of(self.language).size(DP)
        return self.schedule.micro_batch * self.schedule.microbatches * replicas


def _named[N: (Grid, Module)](nodes: tuple[N, ...], name: str) -> N:
    for candidate in nodes:
        if candidate.name == name:
            return candidate
    raise KeyError(name)
