"""The learning rate over the steps of a run, in megatron-core's styles."""

from typing import ClassVar

from mimodsl.ir.facts import TRAINING, Derived, Facts
from mimodsl.ir.node import AT_LEAST_0, AT_LEAST_1, Keyword, Node, knob, node


@node
class LrDecay(Node):
    """The base of every style: a warm-up that rises linearly to the optimizer's `lr`."""

    tag: ClassVar[str]
    megatron_config: ClassVar[str] = "OptimizerParamScheduler"

    warmup: int = knob(
        default=0,
        check=AT_LEAST_0,
        unit="steps",
        doc="how long the learning rate rises",
        facts=Facts(
            TRAINING,
            megatron="lr_warmup_steps",
            flag="lr-warmup-iters",
            hf=None,
            also="warmup_steps",
        ),
    )
    init_lr: float = knob(
        default=0.0,
        check=AT_LEAST_0,
        doc="learning rate of the first step of a warm-up",
        facts=Facts(TRAINING, megatron="init_lr", flag=Derived("lr-warmup-init"), hf=None),
    )


@node
class ConstantLr(LrDecay):
    """The optimizer's `lr` in every step after the warm-up."""

    tag: ClassVar[str] = "constant"


@node
class FallingLr(LrDecay):
    """The base of every style that falls to a minimum."""

    steps: int = knob(
        check=AT_LEAST_1,
        unit="steps",
        doc="how long until the learning rate is down at `min_lr`, warm-up included",
        facts=Facts(TRAINING, megatron="lr_decay_steps", flag="lr-decay-iters", hf=None),
    )
    min_lr: float = knob(
        default=0.0,
        check=AT_LEAST_0,
        doc="where the learning rate ends",
        facts=Facts(TRAINING, megatron="min_lr", hf=None),
    )


@node
class LinearLr(FallingLr):
    """Falls linearly."""

    tag: ClassVar[str] = "linear"


@node
class CosineLr(FallingLr):
    """Falls along half a cosine."""

    tag: ClassVar[str] = "cosine"


@node
class InverseSquareRootLr(FallingLr):
    """Falls with the root of the step: at step n, `lr · √(warmup / n)`, at least `min_lr`."""

    tag: ClassVar[str] = "inverse_square_root"


class Anneal(Keyword):
    """The curve of the last phase."""

    LINEAR = "linear"
    COSINE = "cosine"
    EXPONENTIAL = "exponential"
    MINUS_SQRT = "minus_sqrt"


@node
class WsdLr(FallingLr):
    """Warm-up, stable, decay: constant, and falling in the last `anneal` steps."""

    tag: ClassVar[str] = "wsd"

    anneal: int = knob(
        check=AT_LEAST_1,
        unit="steps",
        doc="how long the learning rate falls at the end",
        facts=Facts(TRAINING, megatron="wsd_decay_steps", flag="lr-wsd-decay-iters", hf=None),
    )
    anneal_style: Anneal = knob(
        default=Anneal.EXPONENTIAL,
        doc="the curve along which it falls",
        facts=Facts(TRAINING, megatron="lr_wsd_decay_style", hf=None),
    )
