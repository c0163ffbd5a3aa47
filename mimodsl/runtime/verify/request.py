"""What a caller asks of a verification: the options of `mimodsl.verify` and `mimodsl verify`."""

from typing import Final, Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, lt, optional

STEPS: Final = 2

TOLERANCE: Final = 1e-3
"""Relative distance up to which sums in another order count as equal; rounding makes about 5e-5."""


@frozen(kw_only=True)
class VerifyRequest:
    """How a layout is verified; `mimodsl.verify` describes each option. Raises `ValueError`."""

    steps: int = field(default=STEPS, validator=ge(1))
    full_size: bool = False
    tolerance: float = field(default=TOLERANCE, validator=and_(gt(0), lt(1)))
    device: Literal["cpu", "cuda"] = field(default="cpu", validator=in_(("cpu", "cuda")))
    timeout: float | None = field(default=None, validator=optional(gt(0)))
