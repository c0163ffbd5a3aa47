"""The families by their kinds: a new family is one more line here."""

from typing import Any, Final

from mimodsl.ir.kinds import Kind
from mimodsl.planner.families.decoder import GptFamily
from mimodsl.planner.families.family import Family
from mimodsl.planner.families.hybrid import HybridFamily
from mimodsl.planner.families.package import PACKAGE_FAMILIES
from mimodsl.planner.families.projector import AffineFamily, MlpFamily
from mimodsl.planner.families.vision import RadioFamily, VitFamily

FAMILIES: Final[tuple[Family[Any], ...]] = (
    RadioFamily(),
    VitFamily(),
    MlpFamily(),
    AffineFamily(),
    GptFamily(),
    HybridFamily(),
    *PACKAGE_FAMILIES,
)


def family_of[K: Kind](kind: K) -> Family[K]:
    """The family of a kind. `TypeError` for a kind that no family has."""
    for family in FAMILIES:
        if isinstance(kind, family.kinds):
            return family
    raise TypeError(f"{type(kind).__name__} belongs to no family")
