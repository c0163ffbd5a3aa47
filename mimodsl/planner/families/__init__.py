"""Families of kinds: what each answers to planner, rules and `verify`, in one file a family."""

from mimodsl.planner.families.family import (
    Block,
    Family,
    Neighbours,
    Room,
    SharedWidth,
    Split,
    Stage,
)
from mimodsl.planner.families.registry import family_of

__all__ = ["Block", "Family", "Neighbours", "Room", "SharedWidth", "Split", "Stage", "family_of"]
