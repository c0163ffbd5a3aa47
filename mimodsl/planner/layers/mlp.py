"""A dense MLP: a norm and two linears with a nonlinearity between them."""

from collections.abc import Iterator
from typing import ClassVar, override

from attrs import frozen

from mimodsl.ir.kinds import Activation, Norm
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import Saved, Share, dropped, norm_saved
from mimodsl.planner.layers.weight import Weight, column_linear, norm_weights, row_linear


@frozen(kw_only=True)
class MlpLayer(Layer):
    """From `hidden` to `ffn` and back. A gated activation takes two products, which the first
    linear makes at once (transformer/mlp.py:150)."""

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
        yield from column_linear("mlp.linear_fc1", self.hidden, self.products, bias=self.bias)
        yield from norm_weights("mlp.linear_fc1.layer_norm_", self.norm, self.hidden)
        yield from row_linear("mlp.linear_fc2", self.ffn, self.hidden, bias=self.bias)

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        yield from norm_saved(at, self.norm, self.hidden)
        yield from activation_saved(self.activation, at.tokens * self.ffn // at.cut.tp * at.element)
        yield from dropped(at, self.hidden)

    @override
    def working(self, at: Share) -> int:
        return mlp_working(at, self.hidden, self.products, self.ffn)


def activation_saved(
    activation: Activation, product: int, *, weighted: bool = False, at_once: bool = False
) -> Iterator[Saved]:
    """What an activation and the linear behind it save, given the bytes of the activation's output.

    A ReLU saves its output, others their input; Megatron's own functions are compiled into one
    kernel each (core/jit.py). A gated one saves both its products (transformer/mlp.py:317). An
    expert's output is `weighted` by its probability before the linear (…:338), which takes both,
    and where one kernel does it `at_once`, there is nothing in between.
    """
    match activation:
        case Activation.RELU:
            pass
        case Activation.SWIGLU | Activation.GEGLU:
            yield Saved(what="products", size=2 * product)
            yield Saved(what="gate and factor", size=2 * product)
        case _:
            yield Saved(what="before the activation", size=product)
    if not at_once:
        is_needed = weighted or activation is Activation.RELU
        yield Saved(what="activated", size=product, for_weights=not is_needed)
    if weighted:
        yield Saved(what="weighted", size=product, for_weights=True)


def mlp_working(at: Share, hidden: int, products: int, ffn: int) -> int:
    """Gradients before and behind an activation, of the output, and of the first weight."""
    inner = at.tokens * (products + ffn) // at.cut.tp * at.element
    weight = hidden * products // at.cut.tp * at.element if at.trained else 0
    return inner + at.tokens * hidden * at.element + weight
