"""Logical parameters put together from what every rank recorded of its shards."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import inf, sqrt
from typing import Final

from attrs import evolve, field, frozen

from mimodsl.ir.spec import Spec
from mimodsl.runtime.verify.record import Piece, Shard

type Key = tuple[str, tuple[int, ...]]

_TOWER: Final = re.compile(
    r"modality_submodules\.(?P<encoder>[^.]+)\.(?:module\.)?"
    r"(?P<part>encoders\.[^.]+|input_projections\.\d+)\.(?P<rest>.*)"
)
_LANGUAGE: Final = re.compile(r"language_model\.(?:module\.)?(?P<rest>.*)")
_INDEXED: Final = (re.compile(r"\blayers\.(?!\d)"), re.compile(r"\bexperts\.experts\."))
_NEGLIGIBLE: Final = 1e-3
"""Below this share of its module's root mean square a tensor is noise, and measured by that."""


@frozen(kw_only=True)
class Copy:
    """One rank's copy of a shard."""

    rank: int
    piece: Piece


@frozen(kw_only=True, slots=False)
class Parameter:
    """A logical parameter: every copy of every shard. `floor` is the least norm to measure by."""

    module: str
    name: str
    copies: tuple[Copy, ...]
    floor: float = field(default=0.0)

    @cached_property
    def shards(self) -> dict[Shard, list[Copy]]:
        shards: defaultdict[Shard, list[Copy]] = defaultdict(list)
        for copy in self.copies:
            shards[copy.piece.shard].append(copy)
        return dict(shards)

    @property
    def expert(self) -> bool:
        return self.copies[0].piece.shard.expert

    @property
    def numel(self) -> int:
        return sum(shard.numel for shard in self.shards)

    @property
    def vanishes(self) -> bool:
        """Whether the reference is noise: next to nothing beside the rest of its module."""
        return self.expected <= self.floor**2

    def among_its_module(self) -> "Parameter":
        """The same, measured by no less than what is usual in its module."""
        return evolve(self, floor=self.floor / _NEGLIGIBLE)

    @property
    def expected(self) -> float:
        """The squared norm in the reference."""
        return sum(copies[0].piece.expected for copies in self.shards.values())

    @cached_property
    def worst(self) -> tuple[Copy, ...]:
        """Of every shard the copy that lies farthest from the reference."""
        return tuple(
            max(copies, key=lambda copy: _farness(copy.piece)) for copies in self.shards.values()
        )

    @property
    def found(self) -> float:
        return sum(copy.piece.found for copy in self.worst)

    @property
    def distance(self) -> float:
        """The distance from the reference, relative to it."""
        return _relative(sum(_farness(copy.piece) for copy in self.worst), self._scale)

    @property
    def ratio(self) -> float | None:
        """The factor that takes the reference nearest to what was found; `None` without one."""
        dot = sum(copy.piece.dot for copy in self.worst)
        return dot / self.expected if self.expected else None

    @property
    def residual(self) -> float:
        """What the factor leaves unexplained, relative to what was found."""
        ratio = self.ratio
        if ratio is None or not self.found:
            return 0.0
        left = max(0.0, self.found - ratio * ratio * self.expected)
        return sqrt(left / self.found)

    def apart(self, copy: Copy) -> float:
        """One copy's relative distance."""
        return _relative(_farness(copy.piece), max(sqrt(copy.piece.expected), self.floor))

    @property
    def _scale(self) -> float:
        return max(sqrt(self.expected), self.floor)


def parameters(
    spec: Spec, order: Sequence[Piece], ranks: Iterable[Sequence[Piece]]
) -> list[Parameter]:
    """All logical parameters of the layout, in the forward order of the reference's own pieces.

    Those that no rank holds are left out; `missing` has them.
    """
    copies: defaultdict[Key, list[Copy]] = defaultdict(list)
    for rank, pieces in enumerate(ranks):
        for piece in pieces:
            copies[piece.shard.parameter].append(Copy(rank=rank, piece=piece))
    keys = dict.fromkeys(piece.shard.parameter for piece in order)
    names = {key: name_of(spec, key) for key in keys}
    known = [key for key in keys if copies[key]]
    floors = _floors({key: copies[key] for key in known}, names)
    return [
        Parameter(
            module=names[key][0],
            name=names[key][1],
            copies=tuple(copies[key]),
            floor=floors[key],
        )
        for key in known
    ]


def missing(order: Sequence[Piece], ranks: Iterable[Sequence[Piece]]) -> Key | None:
    """The first parameter that the layout does not hold in full."""
    held = {piece.shard for pieces in ranks for piece in pieces}
    layout, reference = _sizes(held), _sizes(piece.shard for piece in order)
    return next((key for key, size in reference.items() if layout.get(key, 0) != size), None)


def name_of(spec: Spec, key: Key) -> tuple[str, str]:
    """The spec's module that a parameter belongs to, and the parameter's name within it."""
    text, index = key
    places = iter(index)
    for pattern in _INDEXED:
        word = "layers" if pattern is _INDEXED[0] else "experts"
        if pattern.search(text):
            text = pattern.sub(f"{word}.{next(places, '')}.", text, count=1)
    if found := _TOWER.fullmatch(text):
        encoder = found["encoder"]
        if found["part"].startswith("encoders"):
            return encoder, found["rest"]
        flow = spec.flow_through(encoder)
        return (flow and flow.projector) or encoder, found["rest"]
    found = _LANGUAGE.fullmatch(text)
    return spec.language.name, found["rest"] if found else text


def _sizes(shards: Iterable[Shard]) -> dict[Key, int]:
    sizes: dict[Key, int] = {}
    for shard in shards:
        sizes[shard.parameter] = sizes.get(shard.parameter, 0) + shard.numel
    return sizes


def _floors(
    copies: Mapping[Key, list[Copy]], names: Mapping[Key, tuple[str, str]]
) -> dict[Key, float]:
    """By parameter: a share of the root mean square of its module, times the root of its size."""
    squares: defaultdict[str, float] = defaultdict(float)
    sizes: defaultdict[str, int] = defaultdict(int)
    numels: dict[Key, int] = {}
    for key, held in copies.items():
        distinct = {copy.piece.shard: copy.piece for copy in held}
        module, numels[key] = names[key][0], sum(shard.numel for shard in distinct)
        squares[module] += sum(piece.expected for piece in distinct.values())
        sizes[module] += numels[key]
    return {
        key: _NEGLIGIBLE * sqrt(squares[names[key][0]] / sizes[names[key][0]] * numels[key])
        for key in copies
    }


def _farness(piece: Piece) -> float:
    """The squared distance; infinite where something is no number."""
    return piece.distance if piece.distance == piece.distance else inf


def _relative(square: float, scale: float) -> float:
    if square == 0.0:
        return 0.0
    return sqrt(square) / scale if scale else inf
