"""A mixture of experts: a norm, a router, routed experts, and those that every token passes."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.blocks import Balance, Moe, RouterPrecision, Score
from mimodsl.ir.kinds import Activation, Norm
from mimodsl.planner.experts import are_grouped, is_activation_weighted
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.mlp import activation_saved
from mimodsl.planner.layers.share import FP32, INT64, Saved, Share, dropped, norm_saved
from mimodsl.planner.layers.weight import Weight, column_linear, norm_weights, row_linear


@frozen(kw_only=True)
class MoeLayer(Layer):
    """The experts of `moe`, each as wide as `moe.ffn`; the shared ones are one MLP, split over tp
    as a dense one (transformer/moe/moe_layer.py:187)."""

    title: ClassVar[str] = "MoE"

    hidden: int
    moe: Moe
    activation: Activation
    norm: Norm
    bias: bool

    @property
    def gates(self) -> int:
        """Products of an expert's first linear, as in a dense MLP."""
        return 2 if self.activation.gated else 1

    @override
    def weights(self) -> Iterator[Weight]:
        moe = self.moe
        yield from norm_weights("pre_mlp_layernorm.", self.norm, self.hidden)
        yield Weight(name="mlp.router.weight", shape=(moe.experts, self.hidden))
        if self.bias:
            yield Weight(name="mlp.router.bias", shape=(moe.experts,))
        yield from column_linear(
            "mlp.experts.linear_fc1",
            self.hidden,
            moe.ffn * self.gates,
            bias=self.bias,
            experts=moe.experts,
        )
        yield from row_linear(
            "mlp.experts.linear_fc2", moe.ffn, self.hidden, bias=self.bias, experts=moe.experts
        )
        if moe.shared_ffn is not None:
            wide = moe.shared_ffn * self.gates
            name = "mlp.shared_experts"
            yield from column_linear(f"{name}.linear_fc1", self.hidden, wide, bias=False)
            yield from row_linear(f"{name}.linear_fc2", moe.shared_ffn, self.hidden, bias=False)

    def routed(self, at: Share) -> int:
        """Rows that a rank's experts compute, in the balance that training aims for: as many as the
        rank sends away, once for each etp rank. Padding to a capacity makes them all computed."""
        rows = at.rows * self.moe.topk * at.cut.etp
        padded = self.moe.capacity_factor if self.moe.pad_to_capacity else None
        return int(rows * (padded or 1.0))

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        moe, el = self.moe, at.element
        yield from norm_saved(at, self.norm, self.hidden)
        yield from self._router(at)
        if moe.shared_ffn is not None:
            yield from activation_saved(
                self.activation, at.tokens * moe.shared_ffn // at.cut.tp * el
            )
        rows, width = self.routed(at), moe.ffn // at.cut.etp
        yield Saved(what="routed rows", size=rows * self.hidden * el, for_weights=True)
        yield Saved(what="routed probabilities", size=rows * FP32)
        at_once = is_activation_weighted(self, at.kernels, at.precision, at.cut.etp)
        size = rows * width * el
        yield from activation_saved(self.activation, size, weighted=True, at_once=at_once)
        yield from dropped(at, self.hidden)

    def _router(self, at: Share) -> Iterator[Saved]:
        """Scores, and those of the auxiliary losses; the order of the routed rows is a part of the
        order of every pair of token and expert (transformer/moe/moe_utils.py:459)."""
        moe, pairs, chosen = self.moe, at.rows * self.moe.experts, at.rows * self.moe.topk
        exact = 2 * FP32 if moe.router_dtype is RouterPrecision.FP64 else FP32
        score = pairs * FP32 * (2 if moe.score is Score.SQRT_SOFTPLUS else 1)
        yield Saved(what="scores", size=score + chosen * (INT64 + FP32) + at.rows * FP32)
        if moe.aux_loss > 0 and moe.balance not in (Balance.NONE, Balance.SINKHORN):
            sizes = score + at.rows * FP32 + chosen * INT64
            yield Saved(what="balance scores", size=sizes)
        if moe.z_loss:
            yield Saved(what="logits", size=pairs * exact)
        yield Saved(what="order of rows", size=pairs * INT64 + chosen * INT64)

    @override
    def working(self, at: Share) -> int:
        """Gradients of the routed rows behind and before the experts, and inside of them; and of
        the first linear of all that are one product the weights, stacked, or their gradients."""
        width = self.moe.ffn // at.cut.etp
        rows = self.routed(at) * (2 * self.hidden + width * (self.gates + 1))
        is_grouped = are_grouped(self, at.kernels, at.precision, at.cut.etp)
        at_once = self.moe.experts // at.cut.ep if is_grouped else 1
        return (rows + at_once * self.hidden * width * self.gates) * at.element
