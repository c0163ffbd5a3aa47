"""The subjects of rules: grids, views, modules with their grids, flows with their modules.

A subject is left out if a part of it is missing or malformed. That part has its own diagnostic, so
rules do not report mistakes that only follow from it.
"""

from collections.abc import Iterator
from itertools import takewhile
from math import prod
from typing import Final

from attrs import frozen

from mimodsl.checker.context import Context
from mimodsl.checker.rule import Scope
from mimodsl.ir import (
    AffineProjector,
    CustomEncoder,
    CustomLanguage,
    Flow,
    Grid,
    Hybrid,
    LanguageModel,
    Module,
    Moe,
    Projector,
    Radio,
    TransformerLanguage,
    View,
)
from mimodsl.ir.axes import CP, PP, TP
from mimodsl.ir.draft import Draft
from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES, EXPERT_VIEW
from mimodsl.ir.kinds import Kind
from mimodsl.ir.placement import grid_names, rank_spans
from mimodsl.ir.vision import Encoder, VisionEncoder

# Views.


@frozen
class GridView:
    """One view of a grid."""

    grid: Grid
    view: View

    @property
    def is_base(self) -> bool:
        return self.view is self.grid.views[0]

    @property
    def is_expert(self) -> bool:
        return not self.is_base and self.view.name == EXPERT_VIEW

    @property
    def known_axes(self) -> tuple[str, ...] | None:
        """The axes that the view may have; `None` if any name is allowed."""
        if self.is_base:
            return BASE_AXES
        return (*EXPERT_AXES, PP) if self.is_expert else None

    @property
    def is_sound(self) -> bool:
        """Whether every axis has one known meaning and one known size."""
        names = [axis.name for axis in self.view.axes]
        known = self.known_axes
        if len(set(names)) < len(names) or (known is not None and not set(names) <= set(known)):
            return False
        if self.is_base:
            return self.view.name != EXPERT_VIEW and all(axis.size for axis in self.view.axes)
        return all((axis.name in BASE_AXES) == (axis.size is None) for axis in self.view.axes)

    @property
    def shared(self) -> frozenset[str]:
        """The axes that the view shares with the base view; an expert view always shares pp."""
        named = {axis.name for axis in self.view.axes if axis.size is None}
        return frozenset(named | {PP} if self.is_expert else named)

    @property
    def own_ranks(self) -> int:
        """The product of the sizes that the view itself gives."""
        return prod(self.sized.values())

    @property
    def base(self) -> dict[str, int]:
        """The axes of the base view that this view does not share, with their sizes."""
        axes = self.grid.base.axes
        return {axis.name: axis.size or 1 for axis in axes if axis.name not in self.shared}

    @property
    def sized(self) -> dict[str, int]:
        """The sizes that the view itself gives."""
        return {axis.name: axis.size for axis in self.view.axes if axis.size is not None}

    def stride(self, axis: str) -> int:
        """The distance in ranks between neighbours along an axis; the first axis is fastest."""
        return prod(size for _, size in takewhile(lambda item: item[0] != axis, self.sizes))

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Every axis of the view with its size, also the shared axes."""
        return self.grid.sizes(self.view)

    def ordered(self, axis: str, stride: int) -> str | None:
        """The axes in an order that gives one axis this stride; `None` if no order does."""
        moved = [other for other in self.view.axes if other.name == axis]
        rest = [other for other in self.view.axes if other.name != axis]
        for before in range(len(rest) + 1):
            if prod(self.grid.size(other.name) for other in rest[:before]) == stride:
                return " * ".join(map(str, (*rest[:before], *moved, *rest[before:])))
        return None


def _views(spec: Context) -> Iterator[GridView]:
    for grid in spec.draft.grids:
        for view in grid.views:
            yield GridView(grid, view)


def is_sound(grid: Grid) -> bool:
    """Whether the base view gives a size to each of its axes."""
    return bool(grid.views) and GridView(grid, grid.base).is_sound


def _second_views(spec: Context) -> Iterator[GridView]:
    for view in _views(spec):
        if not view.is_base and view.is_sound and is_sound(view.grid):
            yield view


def span_size(grid: Grid | None) -> int | None:
    """The number of ranks of a grid; `None` if its base view and `ranks` do not agree."""
    if grid is None or not is_sound(grid) or grid.ranks not in (None, grid.world):
        return None
    return grid.world


GRID: Final = Scope[Grid]("one grid", lambda spec: spec.draft.grids)
VIEW: Final = Scope[GridView]("one view of a grid", _views)
SECOND_VIEW: Final = Scope[GridView]("one view of a grid against its base view", _second_views)


# Modules.


@frozen
class Held[K: Kind]:
    """A module of some kind with the grid that holds it."""

    module: Module
    kind: K
    grid: Grid

    @property
    def name(self) -> str:
        return self.module.name

    def size(self, axis: str) -> int:
        """The number of ranks along an axis of the grid."""
        return self.grid.size(axis)

    @property
    def splits_sequence(self) -> bool:
        """Whether each tp rank has its own part of the sequence outside of products."""
        return self.kind.splits_sequence(self.size(TP))


def held[K: Kind](spec: Context, kind: type[K]) -> Iterator[Held[K]]:
    """Every module of a kind whose grid has a sound base view."""
    for module in spec.draft.modules:
        grid = spec.grid_of(module)
        if isinstance(module.kind, kind) and grid is not None and is_sound(grid):
            yield Held(module, module.kind, grid)


@frozen
class HeldMoe:
    """A language model with experts on its grid."""

    language: Held[TransformerLanguage]
    moe: Moe

    @property
    def name(self) -> str:
        return self.language.name

    @property
    def grid(self) -> Grid:
        return self.language.grid

    @property
    def expert(self) -> GridView | None:
        """The expert view, if there is one and it factors the ranks of a stage."""
        if self.grid.expert is None:
            return None
        view = GridView(self.grid, self.grid.expert)
        fits = view.is_sound and view.own_ranks == prod(view.base.values())
        return view if fits else None


def sequence_shards(language: Held[LanguageModel]) -> int:
    """The number of equal parts of a sequence (models/mimo/partition/utils.py,
    "if self.cfg.use_cp and self.cfg.seq_parallel").

    Context parallelism gives each rank two parts, one from each end, to balance causal attention.
    """
    tp = language.size(TP) if language.splits_sequence else 1
    cp = language.size(CP)
    return tp * (2 * cp if cp > 1 else 1)


def _moes(spec: Context) -> Iterator[HeldMoe]:
    for language in held(spec, TransformerLanguage):
        moe = language.kind.used.moe
        if moe is not None:
            yield HeldMoe(language, moe)


MODULE: Final = Scope[Held[Kind]]("one module on its grid", lambda spec: held(spec, Kind))
ENCODER: Final = Scope[Held[Encoder]]("one encoder on its grid", lambda spec: held(spec, Encoder))
RADIO: Final = Scope[Held[Radio]]("one RADIO on its grid", lambda spec: held(spec, Radio))
AFFINE: Final = Scope[Held[AffineProjector]](
    "one affine projector on its grid", lambda spec: held(spec, AffineProjector)
)
CUSTOM_ENCODER: Final = Scope[Held[CustomEncoder]](
    "one encoder of another package on its grid", lambda spec: held(spec, CustomEncoder)
)
CUSTOM_LANGUAGE: Final = Scope[Held[CustomLanguage]](
    "a language model of another package on its grid", lambda spec: held(spec, CustomLanguage)
)
VISION: Final = Scope[Held[VisionEncoder]](
    "one vision transformer on its grid", lambda spec: held(spec, VisionEncoder)
)
LANGUAGE: Final = Scope[Held[TransformerLanguage]](
    "the language model on its grid", lambda spec: held(spec, TransformerLanguage)
)
HYBRID: Final = Scope[Held[Hybrid]](
    "a hybrid language model on its grid", lambda spec: held(spec, Hybrid)
)
MOE: Final = Scope[HeldMoe]("the experts of a language model on its grid", _moes)


# Flows.


@frozen
class Route:
    """A flow with the right roles, with its modules on their grids."""

    flow: Flow
    encoder: Held[Encoder]
    projector: Held[Projector] | None
    language: Held[LanguageModel]


def _routes(spec: Context) -> Iterator[Route]:
    encoders = {encoder.name: encoder for encoder in held(spec, Encoder)}
    projectors = {projector.name: projector for projector in held(spec, Projector)}
    languages = {language.name: language for language in held(spec, LanguageModel)}
    for flow in spec.draft.flows:
        if len(flow.path) not in (2, 3):
            continue
        encoder, language = encoders.get(flow.encoder), languages.get(flow.language)
        projector = projectors.get(flow.projector or "")
        if encoder and language and bool(projector) == (flow.projector is not None):
            yield Route(flow, encoder, projector, language)


FLOW: Final = Scope[Flow]("one flow", lambda spec: spec.draft.flows)
ROUTE: Final = Scope[Route]("one flow with its modules and their grids", _routes)


# The whole spec.


def _whole(spec: Context) -> Iterator[Draft]:
    yield spec.draft


def _complete(spec: Context) -> Iterator[Draft]:
    if spec.draft.complete:
        yield spec.draft


SPEC: Final = Scope[Draft]("the whole spec", _whole)
COMPLETE: Final = Scope[Draft]("the whole spec, with no broken declaration", _complete)


def spans_of(draft: Draft) -> dict[str, range]:
    """The ranks of every placed grid; empty if the placement or a size is unknown."""
    place = draft.place
    if place is None:
        return {}
    names = grid_names(place)
    if len(set(names)) < len(names):
        return {}
    sizes = {name: span_size(draft.grid(name)) for name in names}
    if None in sizes.values():
        return {}
    return rank_spans(place, {name: size or 1 for name, size in sizes.items()})
