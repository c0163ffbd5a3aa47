"""Projectors of linear layers in a plan."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import evolve

from mimodsl.ir.projector import AffineProjector, MlpProjector
from mimodsl.planner.families.family import Family, Neighbours, Room, Split
from mimodsl.planner.families.small import HIDDEN, WIDEST, narrower


class MlpFamily(Family[MlpProjector]):
    """A norm and an MLP of two layers."""

    kinds: ClassVar = (MlpProjector,)

    @override
    def splits(self, kind: MlpProjector, near: Neighbours) -> Iterator[Split]:
        if kind.ffn is not None:
            yield Split(kind, "ffn", "ffn", kind.ffn, free=True)
        elif near.encoder is not None:
            width = kind.inner_width(near.encoder.output_width)
            yield Split(kind, "ffn", "ffn", width, free=True)

    @override
    def small(self, kind: MlpProjector, room: Room) -> MlpProjector:
        """As wide inside as the small widths of its neighbours suggest."""
        if kind.ffn is None or kind.ffn <= 4 * WIDEST:
            return kind
        return evolve(kind, ffn=narrower(kind.ffn, 2 * HIDDEN, room.grid.size("tp")))


class AffineFamily(Family[AffineProjector]):
    """One linear layer, whose output tp ranks gather."""

    kinds: ClassVar = (AffineProjector,)

    @override
    def splits(self, kind: AffineProjector, near: Neighbours) -> Iterator[Split]:
        """The output, which is as wide as the language model."""
        if near.language is not None:
            yield Split(near.language, "hidden", "hidden", near.language.hidden)
