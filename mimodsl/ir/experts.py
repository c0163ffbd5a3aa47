"""Which experts of a rank are multiplied at once, in one grouped product."""

from typing import Final, Protocol

from mimodsl.ir.blocks import Moe
from mimodsl.ir.train import Kernels, Precision

_ALIGNED: Final = 8
"""Elements in bf16 of 16 bytes."""


class HasExperts(Protocol):
    """A language model with experts, or a layer of them."""

    @property
    def hidden(self) -> int: ...

    @property
    def bias(self) -> bool: ...

    @property
    def moe(self) -> Moe | None: ...


def are_grouped(of: HasExperts, kernels: Kernels, precision: Precision, etp: int) -> bool:
    """Whether the experts are one product: as the spec says, or else where the kernels have it.

    `auto` is taken for the local kernels.
    """
    assert of.moe is not None
    if of.moe.grouped_gemm is not None:
        return of.moe.grouped_gemm
    return kernels is Kernels.TRANSFORMER_ENGINE or fit_torch(of, precision, etp)


def fit_torch(of: HasExperts, precision: Precision, etp: int) -> bool:
    """Whether torch's grouped product, which is that of the local kernels, takes the experts.

    It has kernels for bf16, asks for rows of a multiple of 16 bytes, and adds no bias
    (aten/src/ATen/native/GroupedMMUtils.h, cuda/GroupedBlas.cpp of torch 2.11).
    """
    assert of.moe is not None
    is_aligned = all(width % _ALIGNED == 0 for width in (of.hidden, of.moe.ffn // etp))
    return precision is Precision.BF16 and not of.bias and is_aligned
