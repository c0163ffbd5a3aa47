"""What kernels do for experts at once: their products, their activation and the way to them."""

from typing import Final, Protocol

from mimodsl.ir.blocks import Balance, Moe, RouterPrecision, Score
from mimodsl.ir.kinds import Activation
from mimodsl.ir.train import Kernels, Precision, Train
from mimodsl.planner.module import ExpertKernels

ALIGNED: Final = 8
"""Elements in bf16 of 16 bytes: rows that torch's grouped product takes have a multiple."""


class HasExperts(Protocol):
    """What decides about kernels in a language model with experts, besides its `moe` block."""

    @property
    def hidden(self) -> int: ...

    @property
    def bias(self) -> bool: ...

    @property
    def activation(self) -> Activation: ...


def expert_kernels(kind: HasExperts, moe: Moe, train: Train, etp: int) -> ExpertKernels:
    """How kernels run the experts of a language model, each split over `etp` ranks."""
    kernels, precision = train.kernels, train.precision
    return ExpertKernels(
        grouped=are_grouped(kind, moe, kernels, precision, etp),
        fused_permutation=is_permutation_fused(moe, kernels),
        fused_routing=is_routing_fused(moe, kernels),
        weighted_activation=is_activation_weighted(kind, moe, kernels, precision, etp),
    )


def are_grouped(
    kind: HasExperts, moe: Moe, kernels: Kernels, precision: Precision, etp: int
) -> bool:
    """Whether the experts are one product: as the spec says, or else where the kernels have it.

    `auto` is taken for the local kernels.
    """
    if moe.grouped_gemm is not None:
        return moe.grouped_gemm
    return kernels is Kernels.TRANSFORMER_ENGINE or fit_torch(kind, moe, precision, etp)


def fit_torch(kind: HasExperts, moe: Moe, precision: Precision, etp: int) -> bool:
    """Whether torch's grouped product, which both kernel sets have on a Hopper or Blackwell GPU,
    takes the experts."""
    is_bf16 = precision is Precision.BF16
    return torch_takes(kind.hidden, moe.ffn // etp, bf16=is_bf16, bias=kind.bias)


def torch_takes(*widths: int, bf16: bool, bias: bool) -> bool:
    """Whether it takes rows of so many elements: it has kernels for bf16, asks for rows of a
    multiple of 16 bytes, and adds no bias (aten/src/ATen/native/GroupedMMUtils.h,
    cuda/GroupedBlas.cpp of torch 2.11)."""
    return bf16 and not bias and all(width % ALIGNED == 0 for width in widths)


def is_permutation_fused(moe: Moe, kernels: Kernels) -> bool:
    """Whether one kernel of Transformer Engine orders tokens by expert: as the spec says, or else
    with those kernels."""
    if moe.permute_fusion is not None:
        return moe.permute_fusion
    return kernels is Kernels.TRANSFORMER_ENGINE


def is_routing_fused(moe: Moe, kernels: Kernels) -> bool:
    """Whether kernels of Transformer Engine 2.12 choose the experts, and sum up their balance.

    They have two scores, refuse fp64 and compute in the precision that they are given, where
    megatron-core's plain routing is in fp32 (transformer_engine/pytorch/router.py;
    transformer/moe/moe_utils.py, "- Logits are converted to fp32"). Sinkhorn's
    balance has a routing of its own, and of experts in groups nobody has seen these kernels choose.
    """
    return (
        kernels is Kernels.TRANSFORMER_ENGINE
        and moe.router_dtype is RouterPrecision.FP32
        and moe.score in (Score.SIGMOID, Score.SOFTMAX)
        and moe.balance is not Balance.SINKHORN
        and moe.groups is None
    )


def is_activation_weighted(
    kind: HasExperts, moe: Moe, kernels: Kernels, precision: Precision, etp: int
) -> bool:
    """Whether experts' activation and the weights of their tokens are one kernel, which is there
    for experts that are grouped."""
    return are_grouped(kind, moe, kernels, precision, etp) and can_be_weighted(kind)


def can_be_weighted(kind: HasExperts) -> bool:
    """Whether megatron-core has a kernel for both: for a squared ReLU without biases
    (transformer/moe/experts.py, "self.activation_func == squared_relu")."""
    return kind.activation is Activation.SQUARED_RELU and not kind.bias
