"""Experts that torch's grouped product multiplies all at once.

Megatron does: without Transformer Engine it loops over experts, and reads the number of tokens of
each back from the device (transformer/moe/experts.py, "class SequentialMLP").
Why it hurts: with many small experts a GPU waits for the loop most of the time.
Goes when: megatron-core's local experts use torch's grouped product.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false

from types import SimpleNamespace
from typing import Any, Final, cast, override

import torch
import torch.nn.functional as F
from megatron.core.fusions.fused_weighted_squared_relu import weighted_squared_relu_impl
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.moe.experts import SequentialMLP
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mimodsl.megatron.weight_gradients import add_gradient

MOST_GROUPS: Final = 1024
"""Torch 2.11's kernel takes less of them (aten/src/ATen/native/cuda/GroupMM.cu)."""


class GroupedMLP(SequentialMLP):
    """SequentialMLP, parameters and all, without its loop over experts.

    Its experts have bf16 weights without biases, whose widths are multiples of 8 elements. The
    loop reads the number of tokens of each expert back from the device; this does not.
    """

    @override
    def forward(
        self,
        permuted_local_hidden_states: Tensor,
        tokens_per_expert: Tensor,
        permuted_probs: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Put every token through its expert.

        Args:
            permuted_local_hidden_states: `[t, h]`, sorted by expert.
            tokens_per_expert: `[experts]`, their numbers, on any device.
            permuted_probs: `[t]`, what the experts' outputs are weighted with.

        Returns:
            `[t, h]`, and no bias.
        """
        assert not self.config.moe_apply_probs_on_input, "no spec asks for it"
        tokens, experts = permuted_local_hidden_states, cast(Any, self.local_experts)
        if not (len(tokens) > 0 and len(experts) < MOST_GROUPS and has_grouped_product()):
            return super().forward(tokens, tokens_per_expert, permuted_probs)
        if len(experts) == 1:
            return self._pass(experts[0].linear_fc1, experts[0].linear_fc2, tokens, permuted_probs)
        self._await_weights()
        counts = tokens_per_expert.to(tokens.device, non_blocking=True)
        ends = counts.cumsum(0, dtype=torch.int32)
        fc1 = GroupedLinear([expert.linear_fc1.weight for expert in experts], ends)
        fc2 = GroupedLinear([expert.linear_fc2.weight for expert in experts], ends)
        return self._pass(fc1, fc2, tokens, permuted_probs)

    def _pass(
        self, fc1: nn.Module, fc2: nn.Module, tokens: Tensor, probs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Between the linears is what Transformer Engine's experts have, or else MLP's own."""
        if self.config.use_fused_weighted_squared_relu:
            inner, _ = fc1(tokens)
            return fc2(weighted_squared_relu_impl(inner, probs.unsqueeze(-1)))
        first = cast(MLP, self.local_experts[0])
        mlp = SimpleNamespace(
            config=first.config,
            activation_func=first.activation_func,
            linear_fc1=fc1,
            linear_fc2=fc2,
        )
        return MLP.forward(cast(Any, mlp), tokens, probs)

    def _await_weights(self) -> None:
        """DDP waits for gathered parameters in a hook of the module that has them
        (distributed/distributed_data_parallel.py, "def _make_forward_pre_hook"), and the linears
        are not called here."""
        for module in self.local_experts.modules():
            for hook in module._forward_pre_hooks.values():  # noqa: SLF001
                hook(module, ())


def has_grouped_product() -> bool:
    """Of GPUs torch 2.11 has kernels for Hopper and Blackwell
    (aten/src/ATen/native/cuda/GroupedBlas.cpp); elsewhere it would loop, and read the counts back
    in each product. A CPU has nothing to read back."""
    device = torch.device(torch.cuda.current_device())
    return device.type != "cuda" or torch.cuda.get_device_capability(device)[0] in (9, 10)


class GroupedLinear(nn.Module):
    """One linear of all experts, as MLP.forward calls it. The weights stay the experts' own."""

    def __init__(self, weights: list[Tensor], ends: Tensor) -> None:
        super().__init__()
        self.weights = tuple(weights)  # in which torch finds no parameters
        self.ends = ends

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        product: Any = GroupedProduct.apply
        return product(x, self.ends, *self.weights), None


class GroupedProduct(torch.autograd.Function):
    """`x @ weight.T` by groups of rows: `[t, k]` and of every group `[n, k]` to `[t, n]`.

    Group i ends before row `ends[i]`, in int32. The weights are stacked for as long as a product
    takes, and again in the backward pass: no copy of them is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, ends: Tensor, *weights: Tensor) -> Tensor:
        x = x.contiguous()
        trains = any(ctx.needs_input_grad[2:])
        ctx.save_for_backward(x if trains else None, ends, *weights)
        return F.grouped_mm(x, torch.stack(weights).mT, offs=ends)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, ends, *weights = ctx.saved_tensors
        grad = grad.contiguous()
        for_x, for_weights = None, (None,) * len(weights)
        if ctx.needs_input_grad[0]:
            for_x = F.grouped_mm(grad, torch.stack(weights), offs=ends)
        if x is not None:
            # A token's elements lie side by side in both: only so may a group be empty, or of any
            # other number of rows (aten/src/ATen/native/cuda/GroupMMCommon.cuh of torch 2.11).
            gradients = F.grouped_mm(grad.mT, x, offs=ends).unbind()
            for_weights = map(add_gradient, weights, gradients)
        return for_x, None, *for_weights
