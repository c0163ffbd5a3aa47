"""The sizes of small forms, and how a size becomes smaller and still divides over ranks."""

from math import gcd
from typing import Final

HEAD: Final = 16
"""Channels of a head."""
HIDDEN: Final = 64
"""Width of a residual stream."""

WIDEST: Final = 256
"""A module up to this width is small already."""
MOST_LAYERS: Final = 8
"""A module up to this many layers is small already."""


def few_heads(heads: int, tp: int) -> int:
    """One or two heads on every tp rank, as the number of all divides."""
    return tp * gcd(heads // tp, 2)


def narrower(old: int, new: int, unit: int) -> int:
    """The wanted width, rounded up to a multiple; never wider than before."""
    return min(old, unit * -(-new // unit))
