"""Arguments of DDP, the optimizer and the learning rate's scheduler."""

from typing import Final

from mimodsl.ir.lr_decay import (
    ConstantLr,
    CosineLr,
    FallingLr,
    InverseSquareRootLr,
    LinearLr,
    LrDecay,
    WsdLr,
)
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Ddp, Precision, Train
from mimodsl.planner.program.common import DTYPES
from mimodsl.planner.program.names import Fields

_STYLES: Final[dict[type[LrDecay], str]] = {
    ConstantLr: "constant",
    LinearLr: "linear",
    CosineLr: "cosine",
    InverseSquareRootLr: "inverse-square-root",
    WsdLr: "WSD",
}
"""Megatron-core's words (`OptimizerParamScheduler.get_lr`)."""


def ddp_fields(ddp: Ddp) -> Fields:
    """Arguments of DistributedDataParallelConfig."""
    return {"use_distributed_optimizer": True} | megatron_fields(ddp)


def optimizer_fields(spec: Spec) -> Fields:
    """Arguments of OptimizerConfig."""
    train = spec.train
    is_fp16 = train.precision is Precision.FP16
    return {
        "optimizer": "adam",
        **megatron_fields(train.optimizer),
        "min_lr": _floor(train.lr_decay),
        "decoupled_weight_decay": True,
        "params_dtype": DTYPES[train.precision],
        "bf16": train.precision is Precision.BF16,
        "fp16": is_fp16,
        "loss_scale": _loss_scale(spec.schedule) if is_fp16 else None,
        "use_distributed_optimizer": True,
        "overlap_param_gather": train.ddp.overlap_param_gather,
    }


def scheduler_fields(train: Train) -> Fields:
    """Arguments of OptimizerParamScheduler besides the optimizer."""
    decay, adamw = train.lr_decay, train.optimizer
    annealed = decay if isinstance(decay, WsdLr) else None
    return {
        "init_lr": decay.init_lr,
        "max_lr": adamw.lr,
        "min_lr": _floor(decay),
        "lr_warmup_steps": decay.warmup,
        # Where nothing falls, it still has to be longer than the warm-up.
        "lr_decay_steps": decay.steps if isinstance(decay, FallingLr) else decay.warmup + 1,
        "lr_decay_style": _STYLES[type(decay)],
        "start_wd": adamw.weight_decay,
        "end_wd": adamw.weight_decay,
        "wd_incr_steps": 0,
        "wd_incr_style": "constant",
        "wsd_decay_steps": annealed and annealed.anneal,
        "lr_wsd_decay_style": annealed and annealed.anneal_style.value,
    }


def _floor(decay: LrDecay) -> float:
    """The least learning rate. Megatron-core's parameter groups have to know it, too."""
    return decay.min_lr if isinstance(decay, FallingLr) else 0.0


def _loss_scale(schedule: Schedule) -> float:
    """The factor on a loss in fp16: 4096 on the mean of a microbatch, applied to its sum.

    It is constant: every module's optimizer would adapt a scale of its own, and the loss has one.
    """
    return 4096.0 / (schedule.micro_batch * schedule.sequence)
