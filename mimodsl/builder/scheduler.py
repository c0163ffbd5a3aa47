"""Megatron-core's scheduler of the learning rate, a step a training step."""

from collections.abc import Mapping
from typing import Any, cast

from megatron.core.models.mimo.optimizer import MimoOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler


def build_scheduler(optimizer: MimoOptimizer, fields: Mapping[str, Any]) -> OptimizerParamScheduler:
    """The scheduler of a model's optimizer; the learning rate of the first step is set at once.

    `fields` are arguments of OptimizerParamScheduler, which takes the parameter groups of the
    optimizer.
    """
    return OptimizerParamScheduler(cast(Any, optimizer), **fields)


def learning_rate(scheduler: OptimizerParamScheduler) -> float:
    """The learning rate of the next step, the same on every rank."""
    return float(cast(Any, scheduler).get_lr({}))
