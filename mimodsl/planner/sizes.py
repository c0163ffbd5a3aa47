"""Bytes of the elements that memory and messages are counted in."""

from typing import Final

from mimodsl.ir.train import Precision

FP32: Final = 4
"""Bytes of an element in fp32."""

INT64: Final = 8
"""Bytes of an index or a count, an int64."""


def element_size(precision: Precision) -> int:
    """Bytes of an element of a weight or an activation."""
    return FP32 if precision is Precision.FP32 else 2
