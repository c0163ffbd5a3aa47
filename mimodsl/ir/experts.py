"""What kernels do for experts at once: their products, their activation and the way to them."""

from typing import Final, Protocol

from mimodsl.ir.blocks import Balance, Moe, RouterPrecision, Score
from mimodsl.ir.kinds import Activation
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
    def activation(self) -> Activation: ...

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


def is_permutation_fused(moe: Moe, kernels: Kernels) -> bool:
    """Whether one kernel of Transformer Engine orders tokens by expert: as the spec says, or else
    with those kernels."""
    if moe.permute_fusion is not None:
        return moe.permute_fusion
    return kernels is Kernels.TRANSFORMER_ENGINE


def is_routing_fused(moe: Moe, kernels: Kernels) -> bool:
    """Whether kernels of Transformer Engine 2.12 choose the experts, and sum up their balance.

    They have two scores, refuse fp64 and compute in the precision that they are given, where
    megatron-core's plain routing is in fp32 (transformer_engine/pytorch/router.py:105,114;
    transformer/moe/moe_utils.py:835). Sinkhorn's balance has a routing of its own, and of experts
    in groups nobody has seen these kernels choose.
    """
    return (
        kernels is Kernels.TRANSFORMER_ENGINE
        and moe.router_dtype is RouterPrecision.FP32
        and moe.score in (Score.SIGMOID, Score.SOFTMAX)
        and moe.balance is not Balance.SINKHORN
        and moe.groups is None
    )


def is_activation_weighted(of: HasExperts, kernels: Kernels) -> bool:
    """Whether experts' squared ReLU and the weights of their tokens are one kernel, which
    megatron-core has for grouped experts of Transformer Engine without biases
    (transformer/moe/experts.py:850)."""
    assert of.moe is not None
    return (
        kernels is Kernels.TRANSFORMER_ENGINE
        and of.moe.grouped_gemm is not False
        and of.activation is Activation.SQUARED_RELU
        and not of.bias
    )
