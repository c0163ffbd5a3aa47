"""Kinds of other packages in a plan: one layer, of which nothing is split."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, override

from mimodsl.ir.package import CustomEncoder, CustomKind, CustomLanguage, CustomProjector
from mimodsl.planner.families.family import Block, Family, Neighbours, Stage
from mimodsl.planner.layers import CustomLayer
from mimodsl.planner.module import ModulePlan, Widths


class _PackageFamily[K: CustomKind](Family[K]):
    """Any torch module. Its kind says what goes in, what comes out and what that costs."""

    @override
    def blocks(self, kind: K, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        assert plan.claims is not None
        yield (CustomLayer(claims=plan.claims),)


class CustomEncoderFamily(_PackageFamily[CustomEncoder]):
    """Encoders of other packages."""

    kinds: ClassVar = (CustomEncoder,)

    @override
    def widths(self, kind: CustomEncoder, near: Neighbours) -> Widths:
        return Widths(hidden=kind.output_width)


class CustomProjectorFamily(_PackageFamily[CustomProjector]):
    """Projectors of other packages."""

    kinds: ClassVar = (CustomProjector,)
    takes_any_tokens: ClassVar[bool] = False

    @override
    def widths(self, kind: CustomProjector, near: Neighbours) -> Widths:
        assert near.language is not None
        return Widths(hidden=near.language.hidden)


class CustomLanguageFamily(_PackageFamily[CustomLanguage]):
    """Language models of other packages."""

    kinds: ClassVar = (CustomLanguage,)
    takes_any_width: ClassVar[bool] = False

    @override
    def widths(self, kind: CustomLanguage, near: Neighbours) -> Widths:
        return Widths(hidden=kind.hidden)


PACKAGE_FAMILIES: Final[tuple[Family[Any], ...]] = (
    CustomEncoderFamily(),
    CustomProjectorFamily(),
    CustomLanguageFamily(),
)
