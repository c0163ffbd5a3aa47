"""Kinds of other packages in a plan: one layer, of which nothing is split."""

from typing import Any, ClassVar, Final

from mimodsl.ir.package import CustomEncoder, CustomKind, CustomProjector
from mimodsl.planner.families.family import Family


class _PackageFamily[K: CustomKind](Family[K]):
    """Any torch module. Its kind says what goes in, what comes out and what that costs."""


class CustomEncoderFamily(_PackageFamily[CustomEncoder]):
    """Encoders of other packages."""

    kinds: ClassVar = (CustomEncoder,)


class CustomProjectorFamily(_PackageFamily[CustomProjector]):
    """Projectors of other packages."""

    kinds: ClassVar = (CustomProjector,)
    takes_any_tokens: ClassVar[bool] = False


PACKAGE_FAMILIES: Final[tuple[Family[Any], ...]] = (CustomEncoderFamily(), CustomProjectorFamily())
