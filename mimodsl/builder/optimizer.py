"""The MIMO distributed optimizer: one optimizer a module, one gradient norm over all of them."""

from collections.abc import Iterable, Mapping
from typing import Any, cast, override

import torch
import torch.distributed as dist
from megatron.core.models.mimo import MimoModel
from megatron.core.models.mimo.optimizer import MimoOptimizer, ModuleOptimizerInfo
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.process_groups_config import ProcessGroupCollection
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mimodsl.builder.model import modules_of
from mimodsl.builder.process_groups import ModuleGroups


def build_optimizer(
    model: MimoModel, fields: Mapping[str, Any], groups: Mapping[str, ModuleGroups]
) -> "OneNormOptimizer":
    """The optimizer of a model whose modules are in DDP; `groups` by megatron-core's key.

    `fields` are arguments of OptimizerConfig. This stands in place of `get_mimo_optimizer` of
    megatron-core. Its collection has no `expt_tp`: the biases of experts on tp ranks other
    than the first would be missing from the gradient norm. And it hangs where ranks differ in how
    many modules they run. Collective over the world.
    """
    config = OptimizerConfig(**fields)
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
    return OneNormOptimizer(infos, config)


class OneNormOptimizer(MimoOptimizer):
    """A MimoOptimizer that waits for the device once a step, to read the gradient norm.

    The norm and the clipped gradients are the original's. That also reads a norm of every module,
    an overflow and a success; and without Transformer Engine or apex, megatron-core reads
    the norm of every single parameter (`local_multi_tensor_l2_norm`, utils.py,
    "def local_multi_tensor_l2_norm").
    """

    @override
    @torch.no_grad()
    def step(self) -> tuple[bool, float | None, int | None]:
        """Update every module; whether it was, the gradient norm, and no count of zeros."""
        if self._overflowed(self.prepare_grads()):
            return False, None, None
        norm = self.get_grad_norm()
        if 0.0 < self.config.clip_grad < norm:
            self._clip(norm)
        succeeded = self.step_with_ready_grads()
        assert succeeded, "only overflowing gradients keep an optimizer from its step"
        return True, norm, None

    def _overflowed(self, here: bool) -> bool:
        """Whether any rank's gradients did, where there is a loss scale for them to overflow by."""
        if not self.config.fp16:
            return False
        anywhere = torch.tensor(float(here), device=torch.cuda.current_device())
        dist.all_reduce(anywhere, op=dist.ReduceOp.MAX)  # pyright: ignore[reportUnknownMemberType]
        return bool(anywhere)

    @override
    @torch.no_grad()
    def get_grad_norm(self) -> float:
        """The norm of all modules' gradients, on every rank. Collective over the world.

        Each module's first rank speaks for it. The original takes the maximum over all ranks, to
        which no number at all, on some of them, is less than the zeros of the others.
        """
        device = torch.cuda.current_device()
        squares = torch.zeros(len(self.module_infos), device=device)
        for index, (_, info) in enumerate(sorted(self.module_infos.items())):
            if info.optimizer is not None and info.grid is not None:
                square = _square(info.optimizer)
                if dist.get_rank() == info.grid.rank_offset:
                    squares[index] = square
        dist.all_reduce(squares)  # pyright: ignore[reportUnknownMemberType]
        return float(squares.sum().sqrt())

    def _clip(self, norm: float) -> None:
        parts = (part for optimizer in self._active_optimizers for part in _parts(optimizer))
        parameters = [parameter for part in parts for parameter in part.get_parameters()]
        if parameters:
            total = torch.tensor(norm, device=torch.cuda.current_device())
            clip_grads_with_norm_(parameters, self.config.clip_grad, total)


def _square(optimizer: MegatronOptimizer) -> Tensor:
    """The squared norm of a module's gradients. Collective over the module's ranks.

    Its dense and its expert parameters share one sum where they share the ranks to sum over, as a
    pipeline stage without experts expects of the others (optimizer/optimizer.py,
    "class ChainedOptimizer … .stop").
    """
    gradients: dict[Any, list[Tensor]] = {}
    for part in _parts(optimizer):
        group = part.get_grad_stats_parallel_group()
        gradients.setdefault(group, []).extend(part.get_grads_for_grad_norm())
    total = torch.zeros((), device=torch.cuda.current_device())
    for group, own in gradients.items():
        square = torch.zeros_like(total)
        if own:
            square += get_total_norm(own).square()
        dist.all_reduce(square, group=group)  # pyright: ignore[reportUnknownMemberType]
        total += square
    return total


def _parts(optimizer: MegatronOptimizer) -> Iterable[Any]:
    """The optimizers of a module's dense and of its expert parameters."""
    return getattr(optimizer, "chained_optimizers", [optimizer])


def _module_optimizer(
    config: OptimizerConfig, module: Any, collection: ProcessGroupCollection | None
) -> MegatronOptimizer:
    optimizer = get_megatron_optimizer(
        config, [module], pg_collection=collection, use_gloo_process_groups=False
    )
    for part in _parts(optimizer):
        if isinstance(part.optimizer, torch.optim.AdamW):
            _fuse(part.optimizer)
    return optimizer


def _fuse(adamw: torch.optim.AdamW) -> None:
    """Have torch's AdamW, megatron-core's choice without Transformer Engine, update in one kernel.

    By default it updates in several, each over all parameters, and holds one more copy of them.
    """
    for group in adamw.param_groups:
        group |= {"fused": True, "foreach": False}


def _stand_by() -> None:
    """Take part, without parameters, while other ranks make a module's optimizer.

    For its dense and then its expert parameters each of them asks the world, not the module's
    ranks, what parameter groups there are (optimizer/__init__.py,
    "params_key = list(params_map.keys())").
    """
    for _ in ("dense", "experts"):
        groups: list[Any] = [None] * dist.get_world_size()
        cast(Any, dist).all_gather_object(groups, [])


def give_hooks(model: MimoModel, optimizer: MimoOptimizer) -> None:
    """Put the hooks of megatron-core's schedules into the language model's config."""
    model.config.no_sync_func = model.no_sync
    if optimizer.config.fp16:
        model.config.grad_scale_func = optimizer.scale_loss
