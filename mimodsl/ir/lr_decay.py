"""How the learning rate rises and falls over the steps of a run, in megatron-core's styles."""

from typing import ClassVar

from mimodsl.ir.node import AT_LEAST_0, AT_LEAST_1, Keyword, Node, knob, node


@node
class LrDecay(Node):
    """What every style has: a warm-up, which rises in a line to the optimizer's `lr`."""

    tag: ClassVar[str]

    warmup: int = knob(
        default=0, check=AT_LEAST_0, unit="steps", doc="how long the learning rate rises"
    )
    init_lr: float = knob(
        default=0.0, check=AT_LEAST_0, doc="learning rate of the first step of a warm-up"
    )


@node
class ConstantLr(LrDecay):
    """The optimizer's `lr` in every step after the warm-up."""

    tag: ClassVar[str] = "constant"


@node
class FallingLr(LrDecay):
    """What every style has that falls to a floor."""

    steps: int = knob(
        check=AT_LEAST_1,
        unit="steps",
        doc="how long until the learning rate is down at `min_lr`, warm-up included",
    )
    min_lr: float = knob(default=0.0, check=AT_LEAST_0, doc="where the learning rate ends")


@node
class LinearLr(FallingLr):
    """Down in a line."""

    tag: ClassVar[str] = "linear"


@node
class CosineLr(FallingLr):
    """Down along half a cosine."""

    tag: ClassVar[str] = "cosine"


@node
class InverseSquareRootLr(FallingLr):
    """Down with the root of the step: at step n, `lr · √(warmup / n)`, and at least `min_lr`."""

    tag: ClassVar[str] = "inverse_square_root"


class Anneal(Keyword):
    """The curve of a last phase."""

    LINEAR = "linear"
    COSINE = "cosine"
    EXPONENTIAL = "exponential"
    MINUS_SQRT = "minus_sqrt"


@node
class WsdLr(FallingLr):
    """Warm-up, stable, decay: constant, and in the last `anneal` of its steps down."""

    tag: ClassVar[str] = "wsd"

    anneal: int = knob(
        check=AT_LEAST_1, unit="steps", doc="how long the learning rate falls at the end"
    )
    anneal_style: Anneal = knob(default=Anneal.EXPONENTIAL, doc="the curve along which it falls")
