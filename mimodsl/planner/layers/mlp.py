"""A dense MLP: a norm and two linears with a nonlinearity between them."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Activation, Norm
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import (
    column_product,
    column_weights,
    row_product,
    row_weights,
)
from mimodsl.planner.layers.operation import Operation
from mimodsl.planner.layers.saved import SavedTensor, dropout_tensors, norm_tensors
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.share import Share


@frozen(kw_only=True)
class MlpLayer(Layer):
    """From `hidden` to `ffn` and back. A gated activation takes two products, which the first
    linear makes at once (transformer/mlp.py, "ffn_hidden_size *= 2")."""

    title: ClassVar[str] = "MLP"

    hidden: int
    ffn: int
    activation: Activation
    norm: Norm
    bias: bool

    @property
    def products(self) -> int:
        """Channels of the first linear."""
        return self.ffn * (2 if self.activation.gated else 1)

    @override
    def weights(self) -> Iterator[Weight]:
        yield from column_weights("mlp.linear_fc1", self.hidden, self.products, bias=self.bias)
        yield from norm_weights("mlp.linear_fc1.layer_norm_", self.norm, self.hidden)
        yield from row_weights("mlp.linear_fc2", self.ffn, self.hidden, bias=self.bias)

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        yield from norm_tensors(share, self.norm, self.hidden)
        output = share.tokens * self.ffn // share.sharding.tp * share.element
        yield from activation_tensors(self.activation, output)
        yield from dropout_tensors(share, self.hidden)

    @override
    def working(self, share: Share) -> int:
        return mlp_working(share, self.hidden, self.products, self.ffn)

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        yield column_product("MLP", share, self.hidden, self.products)
        yield row_product("MLP", share, self.ffn, self.hidden)


def activation_tensors(
    activation: Activation, output: int, *, weighted: bool = False, fused: bool = False
) -> Iterator[SavedTensor]:
    """What an activation with an output of `output` bytes and the linear behind it save.

    A ReLU saves its output, others save their input; Megatron's own functions are compiled into one
    kernel each (core/jit.py). A gated activation saves both its products (transformer/mlp.py,
    "Only support fusion of gelu and"). An expert's output is `weighted` by its probability before
    the linear (transformer/mlp.py, "intermediate_parallel = glu … original_dtype"), which saves
    both factors. Where one kernel is the activation and the weighting, `fused`, nothing is saved in
    between.
    """
    match activation:
        case Activation.RELU:
            pass
        case Activation.SWIGLU | Activation.GEGLU:
            yield SavedTensor(name="products", size=2 * output)
            yield SavedTensor(name="gate and factor", size=2 * output)
        case _:
            yield SavedTensor(name="before the activation", size=output)
    if not fused:
        is_needed = weighted or activation is Activation.RELU
        yield SavedTensor(name="activated", size=output, for_weights=not is_needed)
    if weighted:
        yield SavedTensor(name="weighted", size=output, for_weights=True)


def mlp_working(share: Share, hidden: int, products: int, ffn: int) -> int:
    """Bytes of the gradients before and behind an activation, of the output, and of the first
    weight."""
    tp, element = share.sharding.tp, share.element
    inner = share.tokens * (products + ffn) // tp * element
    weight = hidden * products // tp * element if share.trained else 0
    return inner + share.tokens * hidden * element + weight
