"""The MIMO distributed optimizer: one optimizer a module, one gradient norm over all of them."""

from collections.abc import Mapping
from typing import Any, cast

import torch.distributed as dist
from megatron.core.models.mimo import MimoModel
from megatron.core.models.mimo.optimizer import MimoOptimizer, ModuleOptimizerInfo
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.process_groups_config import ProcessGroupCollection

from mimodsl.build.configs import DTYPES
from mimodsl.build.model import modules_of
from mimodsl.build.process_groups import ModuleGroups
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Precision


def build_optimizer(
    model: MimoModel, spec: Spec, groups: Mapping[str, ModuleGroups]
) -> MimoOptimizer:
    """The optimizer of a model whose modules are in DDP; `groups` by megatron-core's module key.

    In place of `get_mimo_optimizer` of megatron-core 0.19.2. Its collection has no `expt_tp`: the
    biases of experts on tp ranks other than the first would be missing from the gradient norm. And
    it hangs where ranks differ in how many modules they run. Collective over the world.
    """
    config = optimizer_config(spec)
    modules = modules_of(model)
    infos: dict[str, ModuleOptimizerInfo] = {}
    for name, grid in (model.mimo_config.module_to_grid_map or {}).items():
        module = modules.get(name)
        collection = groups[name].gradients if module else None
        infos[name] = ModuleOptimizerInfo(
            optimizer=_module_optimizer(config, module, collection) if module else _stand_by(),
            grid=grid,
            pg_collection=collection,
            is_active=module is not None,
        )
    return MimoOptimizer(infos, config)


def _module_optimizer(
    config: OptimizerConfig, module: Any, collection: ProcessGroupCollection | None
) -> MegatronOptimizer:
    return get_megatron_optimizer(
        config, [module], pg_collection=collection, use_gloo_process_groups=False
    )


def _stand_by() -> None:
    """Take part, without parameters, while other ranks make a module's optimizer.

    For its dense and then its expert parameters each of them asks the world, not the module's
    ranks, what parameter groups there are (optimizer/__init__.py:362).
    """
    for _ in ("dense", "experts"):
        groups: list[Any] = [None] * dist.get_world_size()
        cast(Any, dist).all_gather_object(groups, [])


def optimizer_config(spec: Spec) -> OptimizerConfig:
    """Megatron-core's optimizer config of a spec's train block."""
    train = spec.train
    adamw = train.optimizer
    return OptimizerConfig(
        optimizer="adam",
        lr=adamw.lr,
        weight_decay=adamw.weight_decay,
        decoupled_weight_decay=True,
        adam_beta1=adamw.beta1,
        adam_beta2=adamw.beta2,
        adam_eps=adamw.eps,
        clip_grad=adamw.clip,
        params_dtype=DTYPES[train.precision],
        bf16=train.precision is Precision.BF16,
        fp16=train.precision is Precision.FP16,
        loss_scale=_loss_scale(spec.schedule) if train.precision is Precision.FP16 else None,
        use_distributed_optimizer=True,
        overlap_param_gather=train.ddp.overlap_param_gather,
    )


def _loss_scale(schedule: Schedule) -> float:
    """The factor on a loss in fp16: 4096 on the mean of a microbatch, whose sum is what it is on.

    Constant, because every module's optimizer would adapt a scale of its own, and the loss has one.
    """
    return 4096.0 / (schedule.micro_batch * schedule.sequence)
