"""One step's forward and backward passes, and the gradients made whole after them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from megatron.core.distributed import DistributedDataParallel
from megatron.core.distributed.finalize_model_grads import finalize_model_grads
from megatron.core.models.mimo import MimoModel
from megatron.core.models.mimo.config.role import MIMO_LANGUAGE_MODULE_KEY, ModuleLayout
from megatron.core.pipeline_parallel import schedules
from megatron.core.pipeline_parallel.multimodule_communicator import MultiModulePipelineCommunicator
from megatron.core.process_groups_config import MultiModuleProcessGroupCollection

from mimodsl.builder.model import modules_of
from mimodsl.builder.process_groups import ModuleGroups
from mimodsl.megatron.leftovers import let_go_of_passes
from mimodsl.planner.program.values import Batches

type Microbatch = Mapping[str, Any]
"""Keyword arguments of `MimoModel.forward`, as `mimodsl.runtime.data` makes them."""


class Totals(NamedTuple):
    """Sums over a step's global batch, the same on every rank.

    `loss` is the sum of losses, each times its weight; `weight` is what losses and gradients are
    divided by; `tokens` counts the tokens that bear a loss.
    """

    loss: float
    weight: float
    tokens: int

    @property
    def mean_loss(self) -> float:
        return self.loss / max(self.weight, 1.0)


def build_communicator(model: MimoModel) -> MultiModulePipelineCommunicator | None:
    """The pipeline over modules and stages; `None` where every rank runs the whole model.

    Collective over the world: each bridge makes its groups and waits for all ranks.
    """
    if model.role.mode is ModuleLayout.COLOCATED:
        return None
    grids = model.mimo_config.module_to_grid_map or {}
    encoders = [name for name in grids if name != MIMO_LANGUAGE_MODULE_KEY]
    edges = {name: [MIMO_LANGUAGE_MODULE_KEY] for name in encoders}
    return MultiModulePipelineCommunicator(
        grids,
        topology=edges | {MIMO_LANGUAGE_MODULE_KEY: []},
        config=model.config,
        dim_mapping=cast(Any, {"s": 0, "b": 1, "h": 2}),
        # Encoders send [b * tokens, h]; left unsaid, the bridge would expect three dimensions.
        module_output_ndim=dict.fromkeys(encoders, 2),
    )


class MicrobatchSchedule(NamedTuple):
    """Runs the microbatches of a step over this rank's modules.

    `groups` is by megatron-core's module key. `loss_per` is `token` or `microbatch`. `check` raises
    where a microbatch of this rank cannot be run.
    """

    model: MimoModel
    communicator: MultiModulePipelineCommunicator | None
    groups: Mapping[str, ModuleGroups]
    batches: Batches
    loss_per: str
    check: Callable[[Microbatch], None] | None = None

    def forward_backward(
        self, microbatches: Iterable[Microbatch], *, forward_only: bool = False
    ) -> Totals:
        """Run every microbatch and, unless `forward_only`, leave the step's gradients in place.

        Gradients are then those of the mean loss of the global batch, reduced within each module's
        own groups. Collective over the world. Raises `ValueError` where there are too few
        microbatches, or what `check` raises.
        """
        checked = self._checked(microbatches)
        with torch.set_grad_enabled(not forward_only):
            reports = self._run(iter(checked), forward_only)
        if not forward_only:
            let_go_of_passes(self.model)
            # First: stages that are through reduce theirs while others still have passes to make.
            self._reduce_gradients()
        sums = self._sum_over_world(reports)
        # Reading the sums waits for the device: only now is nothing left to be launched.
        loss, weight, tokens = map(float, sums.cpu())
        totals = Totals(loss=loss, weight=weight, tokens=int(tokens))
        if not forward_only:
            self._scale_gradients(1.0 / max(weight, 1.0))
        return totals

    def _checked(self, microbatches: Iterable[Microbatch]) -> list[Microbatch]:
        """The microbatches of one step. Counting their tokens waits for the device, which has
        little to do yet: during the passes it would run dry at each."""
        wanted = self.batches.microbatches
        taken = list(islice(microbatches, wanted))
        if len(taken) < wanted:
            raise ValueError(f"a step has {wanted} microbatches, and was given {len(taken)}")
        if self.check is not None:
            for microbatch in taken:
                self.check(microbatch)
        return taken

    def _run(self, microbatches: Iterator[Microbatch], forward_only: bool) -> list[torch.Tensor]:
        megatron: Any = schedules
        if self.communicator is None:
            run = megatron.forward_backward_no_pipelining
            links: dict[str, Any] = {"pg_collection": self._language.layers}
        else:
            run = megatron.forward_backward_pipelining_without_interleaving
            links = {"pg_collection": self._collections(), "p2p_communicator": self.communicator}
        return run(
            forward_step_func=self._forward_step,
            data_iterator=microbatches,
            model=[self.model],
            num_microbatches=self.batches.microbatches,
            seq_length=self.batches.sequence,
            micro_batch_size=self.batches.micro_batch,
            forward_only=forward_only,
            **links,
        )

    def _forward_step(self, microbatches: Iterator[Microbatch], model: Any) -> tuple[Any, Any]:
        output, loss_mask = model(**next(microbatches))
        return output, partial(_loss, self.loss_per, loss_mask)

    @property
    def _language(self) -> ModuleGroups:
        return self.groups[MIMO_LANGUAGE_MODULE_KEY]

    def _collections(self) -> MultiModuleProcessGroupCollection:
        key = MIMO_LANGUAGE_MODULE_KEY
        return MultiModuleProcessGroupCollection(
            module_pgs={name: groups.layers for name, groups in self.groups.items()},
            language_model_module_name=key if key in self.groups else None,
        )

    def _sum_over_world(self, reports: list[torch.Tensor]) -> torch.Tensor:
        """All reports in one, [3]; each counts where the last stage's first tp rank has it."""
        sums = torch.zeros(3, dtype=torch.float64, device=torch.cuda.current_device())
        if reports and self._language.layers.tp.rank() == 0:
            sums += torch.stack(reports).sum(0)
        dist.all_reduce(sums)  # pyright: ignore[reportUnknownMemberType]
        return sums

    def _reduce_gradients(self) -> None:
        """Reduce each module over its own groups.

        megatron-core's finaliser takes no multi-module collection, and would divide by a count of
        each module's own: encoder gradients off by the ratio of the dp sizes.
        """
        for name, module in modules_of(self.model).items():
            finalize_model_grads([module], pg_collection=self.groups[name].gradients)

    def _scale_gradients(self, factor: float) -> None:
        for module in modules_of(self.model).values():
            assert isinstance(module, DistributedDataParallel)
            module.scale_gradients(factor)


def _loss(
    loss_per: str, loss_mask: torch.Tensor, losses: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sum the token losses [b, s]; returns the loss to differentiate, tokens, and a report [3].

    A mean over the microbatch is weighted by its size, so that it stands to the auxiliary losses of
    experts, which grow with it, as a sum of token losses does.
    """
    tokens = loss_mask.sum()
    loss = (losses.float() * loss_mask).sum()
    weight = tokens
    if loss_per == "microbatch":
        weight = torch.full_like(tokens, loss_mask.numel())
        loss = loss / tokens.clamp(min=1) * weight
    report = torch.stack([loss.detach(), weight, tokens]).double()
    return loss, tokens.int(), report
