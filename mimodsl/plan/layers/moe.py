"""A mixture of experts: a norm, a router, routed experts, and those that every token passes."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.blocks import Moe
from mimodsl.ir.kinds import Activation, Norm
from mimodsl.plan.layers.layer import Layer
from mimodsl.plan.layers.weight import Weight, column_linear, norm_weights, row_linear


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
