"""Experts of the local kernel set, multiplied all at once through torch's grouped product."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportIncompatibleMethodOverride=false

from types import SimpleNamespace
from typing import Any, cast, override

import torch
import torch.nn.functional as F
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.moe.experts import SequentialMLP
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mimodsl.build.weight_gradients import add_gradient


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
        tokens = permuted_local_hidden_states
        if not self._is_one_product(tokens):
            return super().forward(tokens, tokens_per_expert, permuted_probs)
        self._await_weights()
        counts = tokens_per_expert.to(tokens.device, non_blocking=True)
        ends = counts.cumsum(0, dtype=torch.int32)
        first, experts = cast(MLP, self.local_experts[0]), cast(Any, self.local_experts)
        # What lies between the linears is MLP's own.
        together = SimpleNamespace(
            config=first.config,
            activation_func=first.activation_func,
            linear_fc1=GroupedLinear([expert.linear_fc1.weight for expert in experts], ends),
            linear_fc2=GroupedLinear([expert.linear_fc2.weight for expert in experts], ends),
        )
        return MLP.forward(cast(Any, together), tokens, permuted_probs)

    def _is_one_product(self, tokens: Tensor) -> bool:
        """Of GPUs torch 2.11 has kernels for Hopper and Blackwell, and for less than 1024 groups
        (aten/src/ATen/native/cuda/GroupedBlas.cpp, GroupMM.cu); elsewhere it would loop, and read
        the counts back in each product. A CPU has nothing to read back."""
        assert not self.config.moe_apply_probs_on_input, "no spec asks for it"
        if tokens.is_cuda and torch.cuda.get_device_capability(tokens.device)[0] not in (9, 10):
            return False
        return len(tokens) > 0 and 1 < self.num_local_experts < 1024

    def _await_weights(self) -> None:
        """DDP waits for gathered parameters in a hook of the module that has them
        (distributed/distributed_data_parallel.py:432), and the linears are not called here."""
        for module in self.local_experts.modules():
            for hook in module._forward_pre_hooks.values():  # noqa: SLF001
                hook(module, ())


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
