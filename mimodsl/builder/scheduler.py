"""Megatron-core's scheduler of a spec's learning rate, a step a training step."""

from typing import Any, Final, cast

from megatron.core.models.mimo.optimizer import MimoOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from mimodsl.ir.lr_decay import (
    ConstantLr,
    CosineLr,
    FallingLr,
    InverseSquareRootLr,
    LinearLr,
    LrDecay,
    WsdLr,
)
from mimodsl.ir.train import Train

_STYLES: Final[dict[type[LrDecay], str]] = {
    ConstantLr: "constant",
    LinearLr: "linear",
    CosineLr: "cosine",
    InverseSquareRootLr: "inverse-square-root",
    WsdLr: "WSD",
}
"""Megatron-core's words (`OptimizerParamScheduler.get_lr`)."""


def build_scheduler(optimizer: MimoOptimizer, train: Train) -> OptimizerParamScheduler:
    """The scheduler of a model's optimizer; the learning rate of the first step is set at once."""
    decay, adamw = train.lr_decay, train.optimizer
    falls = isinstance(decay, FallingLr)
    annealed = decay if isinstance(decay, WsdLr) else None
    return OptimizerParamScheduler(
        cast(Any, optimizer),  # of which it takes the parameter groups
        init_lr=decay.init_lr,
        max_lr=adamw.lr,
        min_lr=floor(train),
        lr_warmup_steps=decay.warmup,
        # Where nothing falls, it still has to be longer than the warm-up.
        lr_decay_steps=decay.steps if falls else decay.warmup + 1,
        lr_decay_style=_STYLES[type(decay)],
        start_wd=adamw.weight_decay,
        end_wd=adamw.weight_decay,
        wd_incr_steps=0,
        wd_incr_style="constant",
        wsd_decay_steps=annealed and annealed.anneal,
        lr_wsd_decay_style=annealed and str(annealed.anneal_style),
    )


def floor(train: Train) -> float:
    """The least learning rate, which megatron-core's parameter groups have to know, too."""
    return train.lr_decay.min_lr if isinstance(train.lr_decay, FallingLr) else 0.0


def learning_rate(scheduler: OptimizerParamScheduler) -> float:
    """The learning rate of the next step, the same on every rank."""
    return float(cast(Any, scheduler).get_lr({}))
