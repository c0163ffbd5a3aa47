"""A mixture of experts: a norm, a router, routed experts, and shared experts for every token."""

from collections.abc import Iterator
from math import ceil
from typing import ClassVar, override

from attrs import evolve, frozen

from mimodsl.ir.axes import CP, DP, EP, ETP, TP
from mimodsl.ir.blocks import Balance, Moe, RouterPrecision, Score
from mimodsl.ir.kinds import Activation, Norm
from mimodsl.planner.calls import Call, CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import (
    call,
    column_product,
    column_weights,
    row_product,
    row_weights,
)
from mimodsl.planner.layers.mlp import activation_tensors
from mimodsl.planner.layers.operation import Gradient, Operation, Overlap
from mimodsl.planner.layers.saved import SavedTensor, dropout_tensors, norm_tensors
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.module import ExpertKernels
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import FP32, INT64


@frozen(kw_only=True)
class MoeLayer(Layer):
    """The experts of `moe`, each `moe.ffn` wide. The shared experts are one MLP, which is split
    over tp like a dense one (transformer/moe/moe_layer.py,
    "local_expert_indices_offset = ep_rank").

    All numbers assume that the router is balanced: every expert is chosen equally often.
    """

    title: ClassVar[str] = "MoE"

    hidden: int
    moe: Moe
    kernels: ExpertKernels
    activation: Activation
    norm: Norm
    bias: bool

    @property
    def gates(self) -> int:
        """Products of an expert's first linear, as in a dense MLP."""
        return 2 if self.activation.gated else 1

    @property
    @override
    def expert_biases(self) -> int:
        return self.moe.experts if self.moe.expert_bias else 0

    @override
    def weights(self) -> Iterator[Weight]:
        moe = self.moe
        yield from norm_weights("pre_mlp_layernorm.", self.norm, self.hidden)
        yield Weight(name="mlp.router.weight", shape=(moe.experts, self.hidden))
        if self.bias:
            yield Weight(name="mlp.router.bias", shape=(moe.experts,))
        yield from column_weights(
            "mlp.experts.linear_fc1",
            self.hidden,
            moe.ffn * self.gates,
            bias=self.bias,
            experts=moe.experts,
        )
        yield from row_weights(
            "mlp.experts.linear_fc2", moe.ffn, self.hidden, bias=self.bias, experts=moe.experts
        )
        if moe.shared_ffn is not None:
            products = moe.shared_ffn * self.gates
            name = "mlp.shared_experts"
            yield from column_weights(f"{name}.linear_fc1", self.hidden, products, bias=False)
            yield from row_weights(f"{name}.linear_fc2", moe.shared_ffn, self.hidden, bias=False)

    def routed_rows(self, share: Share) -> int:
        """Copies of tokens that a rank sends to experts: `topk` for each token that it routes.

        With a capacity each expert takes at most `ceil(tokens · topk / experts · capacity_factor)`
        tokens of a rank (transformer/moe/moe_utils.py, "capacity = math.ceil((num_tokens"). The
        rest is dropped, and padding fills up every expert to its capacity
        (transformer/moe/moe_utils.py, "if pad_to_capacity"). Real ranks with balanced routers
        compute exactly these rows at factors 0.5, 1.0 and 1.3, padded or not
        (tests/e2e/test_capacity.py).
        """
        moe, chosen = self.moe, share.rows * self.moe.topk
        if moe.capacity_factor is None:
            return chosen
        capacity = ceil(chosen / moe.experts * moe.capacity_factor)
        at_capacity = capacity * moe.experts
        return at_capacity if moe.pad_to_capacity else min(chosen, at_capacity)

    def expert_rows(self, share: Share) -> int:
        """Rows that a rank's experts compute. A balanced rank gets as many as it sends, and over
        etp, which splits each expert, every rank gets the rows of all."""
        return self.routed_rows(share) * share.sharding.etp

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        moe, element = self.moe, share.element
        yield from norm_tensors(share, self.norm, self.hidden)
        yield from self._router_tensors(share)
        if moe.shared_ffn is not None:
            output = share.tokens * moe.shared_ffn // share.sharding.tp * element
            yield from activation_tensors(self.activation, output)
        rows, width = self.expert_rows(share), moe.ffn // share.sharding.etp
        yield SavedTensor(name="routed rows", size=rows * self.hidden * element, for_weights=True)
        yield SavedTensor(name="routed probabilities", size=rows * FP32)
        fused = self.kernels.weighted_activation
        yield from activation_tensors(
            self.activation, rows * width * element, weighted=True, fused=fused
        )
        yield from dropout_tensors(share, self.hidden)

    def _router_tensors(self, share: Share) -> Iterator[SavedTensor]:
        """Scores, also those of the auxiliary losses, a mask of the pairs of token and expert that
        fit into a capacity (transformer/moe/moe_utils.py, "if pad_to_capacity"), and the order of
        the routed rows.

        That order is a part of the order of all pairs (transformer/moe/moe_utils.py,
        "sorted_indices = flat_sorted % num_tokens"), but with padding, where it is twice a tensor
        of its own (transformer/moe/moe_utils.py, "routing_map = routing_map.to").
        """
        moe, pairs, chosen = self.moe, share.rows * self.moe.experts, share.rows * self.moe.topk
        exact = 2 * FP32 if moe.router_dtype is RouterPrecision.FP64 else FP32
        score = pairs * FP32 * (2 if moe.score is Score.SQRT_SOFTPLUS else 1)
        yield SavedTensor(name="scores", size=score + chosen * (INT64 + FP32) + share.rows * FP32)
        if moe.aux_loss > 0 and moe.balance not in (Balance.NONE, Balance.SINKHORN):
            size = score + share.rows * FP32 + chosen * INT64
            yield SavedTensor(name="balance scores", size=size)
        if moe.z_loss:
            yield SavedTensor(name="logits", size=pairs * exact)
        if moe.capacity_factor is not None:
            yield SavedTensor(name="pairs within capacity", size=pairs)
        rows = self.routed_rows(share)
        order = rows if moe.pad_to_capacity else pairs
        yield SavedTensor(name="order of rows", size=(order + rows) * INT64)

    @override
    def working(self, share: Share) -> int:
        """Gradients of the routed rows behind and before the experts, and inside of them.

        Besides, of the first linear: the stacked weights, or their gradients, of all experts that
        are one product.
        """
        width = self.moe.ffn // share.sharding.etp
        rows = self.expert_rows(share) * (2 * self.hidden + width * (self.gates + 1))
        stacked = self.moe.experts // share.sharding.ep if self.kernels.grouped else 1
        return (rows + stacked * self.hidden * width * self.gates) * share.element

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """The router, the routed experts' two linears, and those of the shared experts.

        With `shared_overlap` tokens travel while the shared experts compute.
        """
        moe = self.moe
        yield Operation(
            name="router",
            gradient=Gradient.ROUTER,
            flops=2 * share.rows * self.hidden * moe.experts,
            forward_calls=self._count_calls(share),
            recorded_calls=self._balance_calls(share),
        )
        yield Operation(
            name="routed experts",
            flops=2 * self.routed_rows(share) * self.hidden * moe.ffn * (self.gates + 1),
            overlap=Overlap.ALL if moe.shared_overlap else Overlap.NONE,
            forward_calls=tuple(self._dispatch_calls(share)),
            backward_calls=tuple(self._returned_calls(share)),
        )
        if moe.shared_ffn is not None:
            yield from self._shared_experts(share, moe.shared_ffn)

    def _count_calls(self, share: Share) -> tuple[Call, ...]:
        """Each rank of an expert group hears how many tokens go where
        (transformer/moe/token_dispatcher.py,
        "def preprocess … gather_from_sequence_parallel_region"). With padding to a capacity these
        counts are known."""
        group = share.group(ETP, EP)
        if self.moe.pad_to_capacity or group is None:
            return ()
        return call(group, CallKind.ALL_GATHER, self.moe.experts * group.members * INT64)

    def _balance_calls(self, share: Share) -> tuple[Call, ...]:
        """Sums of the counts of tokens by expert, which a balancing loss needs
        (transformer/moe/router.py, "def _apply_aux_loss … self")."""
        if self.moe.aux_loss == 0:
            return ()
        size = self.moe.experts * INT64
        match self.moe.balance:
            case Balance.AUX_LOSS:
                return call(share.group(TP, CP), CallKind.ALL_REDUCE, size)
            case Balance.SEQ_AUX_LOSS:
                return call(share.group(TP, CP), CallKind.ALL_REDUCE, size * share.sequences)
            case Balance.GLOBAL_AUX_LOSS:
                return call(share.group(TP, DP, CP), CallKind.ALL_REDUCE, size)
            case _:
                return ()

    def _dispatch_calls(self, share: Share) -> Iterator[Call]:
        """Tokens and their probabilities to the ranks of their experts, and the tokens back.

        Over etp, which splits each expert, every rank sees all tokens
        (transformer/moe/token_dispatcher.py, "global_input_tokens = all_to_all").
        """
        token, probability = self.hidden * share.element, self._probability_size(share)
        ep, etp = share.group(EP), share.group(ETP)
        sent, seen = self.routed_rows(share), self.expert_rows(share)
        yield from call(ep, CallKind.ALL_TO_ALL, sent * token)
        yield from call(ep, CallKind.ALL_TO_ALL, sent * probability)
        yield from call(etp, CallKind.ALL_GATHER, seen * token)
        yield from call(etp, CallKind.ALL_GATHER, seen * probability)
        # The sum over etp is in the precision of the probabilities
        # (transformer/moe/token_dispatcher.py, "hidden_states.to(self.probs.dtype)").
        yield from call(etp, CallKind.REDUCE_SCATTER, seen * self.hidden * probability)
        yield from call(ep, CallKind.ALL_TO_ALL, sent * token)

    def _returned_calls(self, share: Share) -> Iterator[Call]:
        """The calls of the dispatch in the backward pass: gathers become sums, and sums gathers."""
        swapped = {
            CallKind.ALL_GATHER: CallKind.REDUCE_SCATTER,
            CallKind.REDUCE_SCATTER: CallKind.ALL_GATHER,
        }
        for each in self._dispatch_calls(share):
            yield evolve(each, kind=swapped.get(each.kind, each.kind))

    def _probability_size(self, share: Share) -> int:
        """Bytes of a routing probability, which has the router's precision."""
        match self.moe.router_dtype:
            case RouterPrecision.FP32:
                return FP32
            case RouterPrecision.FP64:
                return 2 * FP32
            case _:
                return share.element

    def _shared_experts(self, share: Share, ffn: int) -> Iterator[Operation]:
        """One MLP for every token. Overlapped with the dispatch it gathers its input itself, once
        for both its gradients (transformer/moe/shared_experts.py,
        "gather_from_sequence_parallel_region( input")."""
        for product in (
            column_product("shared experts", share, self.hidden, ffn * self.gates),
            row_product("shared experts", share, ffn, self.hidden),
        ):
            if self.moe.shared_overlap:
                yield evolve(product, weight_calls=(), overlap=Overlap.ALL)
            else:
                yield product
