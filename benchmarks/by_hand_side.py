"""A Nemotron VLM put together and trained by hand, as megatron-core's public MIMO example does it.

Grids, collections, model, DDP, communicator, gradient finalisation, optimizer and step, one after
the other and with megatron-core's own functions, for an encoder and a language model without
pipeline stages, on the same ranks or side by side.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from by_hand_layers import (
    PUBLIC_FUSIONS,
    TE_FUSIONS,
    language_config,
    language_spec,
    vision_spec,
)
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.distributed.finalize_model_grads import finalize_model_grads
from megatron.core.enums import ModelType
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.models.mimo import MimoModel, MimoModelConfig
from megatron.core.models.mimo.optimizer import get_mimo_optimizer
from megatron.core.optimizer import OptimizerConfig
from megatron.core.pipeline_parallel import schedules
from megatron.core.pipeline_parallel.multimodule_communicator import MultiModulePipelineCommunicator
from megatron.core.process_groups_config import (
    MultiModuleProcessGroupCollection,
    ProcessGroupCollection,
)
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

from mimodsl.ir import Grid, Spec

LANGUAGE = "language"
EXPERT = "expert"


class ByHand:
    """One rank's share of the model, and its training step.

    `fused` switches on what the public example's command line does and a spec says nothing of.
    Collective over the world.
    """

    def __init__(self, spec: Spec, *, use_te: bool, fused: bool) -> None:
        self.spec = spec
        fusions = dict(PUBLIC_FUSIONS) | (TE_FUSIONS if use_te else {}) if fused else {}
        self.flow = spec.flows[0]
        places = {LANGUAGE: spec.language, self.flow.encoder: spec.module(self.flow.encoder)}
        self.sizes = {key: sizes_of(spec.grid_of(module)) for key, module in places.items()}
        self.grids = {
            key: make_grid(self.sizes[key], spec.rank_spans[module.grid].start)
            for key, module in places.items()
        }
        here = [key for key, grid in self.grids.items() if grid.is_current_rank_in_grid()]
        self.groups = {key: collection(self.grids[key]) for key in here}
        self.model = self._model(use_te=use_te, fusions=fusions)
        self._wrap()
        self.communicator = self._communicator()
        self.model.config.finalize_model_grads_func = self._finalize
        if spec.train.ddp.overlap_grad_reduce:
            self.model.config.no_sync_func = self.model.no_sync
        self.optimizer = get_mimo_optimizer(self.model, optimizer_config(spec))

    def data_groups(self) -> dict[str, ProcessGroupCollection]:
        """The groups of this rank's modules by their names in the spec."""
        names = {LANGUAGE: self.spec.language.name, self.flow.encoder: self.flow.encoder}
        return {names[key]: groups for key, groups in self.groups.items()}

    def train_step(self, microbatches: list[Mapping[str, Any]]) -> torch.Tensor:
        """One step; the sum of losses and the tokens on this rank, [2]."""
        self.model.zero_grad_buffer()
        self.optimizer.zero_grad()
        run: Any = schedules.forward_backward_no_pipelining
        links: dict[str, Any] = {"pg_collection": self.groups.get(LANGUAGE)}
        if self.communicator is not None:
            run = schedules.forward_backward_pipelining_without_interleaving
            key = LANGUAGE if LANGUAGE in self.groups else None
            links["pg_collection"] = MultiModuleProcessGroupCollection(
                module_pgs=self.groups, language_model_module_name=key
            )
            links["p2p_communicator"] = self.communicator
        reports = run(
            forward_step_func=forward_step,
            data_iterator=iter(microbatches),
            model=[self.model],
            num_microbatches=len(microbatches),
            seq_length=self.spec.schedule.sequence,
            micro_batch_size=self.spec.schedule.micro_batch,
            forward_only=False,
            **links,
        )
        self.optimizer.step()
        total = torch.zeros(2, device=torch.cuda.current_device())
        if reports:
            total += torch.stack([report["lm loss"] for report in reports]).sum(0)
            dist.all_reduce(total, group=self.groups[LANGUAGE].dp_cp)
        return total

    def _model(self, *, use_te: bool, fusions: Mapping[str, bool]) -> MimoModel:
        name = self.flow.encoder
        language, vision = self.groups.get(LANGUAGE), self.groups.get(name)
        seed(self.spec.train.seed, self.groups.get(LANGUAGE) or self.groups[name])
        config = language_config(self.spec, self.sizes[LANGUAGE], use_te=use_te, fusions=fusions)
        if parallel_state._GLOBAL_MEMORY_BUFFER is None:  # noqa: SLF001
            parallel_state._set_global_memory_buffer()  # noqa: SLF001
        model = MimoModel(
            MimoModelConfig(
                language_model_spec=language_spec(self.spec, config, language, use_te=use_te),
                modality_submodules_spec={
                    name: vision_spec(self.spec, self.sizes[name]["tp"], vision, use_te=use_te)
                },
                special_token_ids={name: self.flow.token},
                module_to_grid_map=self.grids,
            ),
            cp_group=language and language.cp,
            tp_group=language and language.tp,
        )
        model.model_type = ModelType.encoder_or_decoder
        return model.to(device=torch.cuda.current_device(), dtype=config.params_dtype)

    def _wrap(self) -> None:
        if self.model.language_model is not None:
            self.model.language_model = self._ddp(LANGUAGE, self.model.language_model)
        for name, module in self.model.modality_submodules.items():
            self.model.modality_submodules[name] = self._ddp(name, module)

    def _ddp(self, key: str, module: torch.nn.Module) -> DistributedDataParallel:
        ddp = self.spec.train.ddp
        config = next(part.config for part in module.modules() if hasattr(part, "config"))
        return DistributedDataParallel(
            config=config,
            ddp_config=DistributedDataParallelConfig(
                use_distributed_optimizer=True,
                overlap_grad_reduce=ddp.overlap_grad_reduce,
                overlap_param_gather=ddp.overlap_param_gather,
                grad_reduce_in_fp32=ddp.grad_fp32,
                bucket_size=ddp.bucket,
            ),
            module=module,
            pg_collection=self.groups[key],
        )

    def _communicator(self) -> MultiModulePipelineCommunicator | None:
        if len(self.groups) > 1:
            return None
        name = self.flow.encoder
        return MultiModulePipelineCommunicator(
            self.grids,
            {name: [LANGUAGE], LANGUAGE: []},
            self.model.config,
            dim_mapping={"s": 0, "b": 1, "h": 2},
            module_output_ndim={name: 2},
        )

    def _finalize(self, _model: Any, num_tokens: torch.Tensor | None, **_: Any) -> None:
        """Reduce each module over its own groups; divide all by the tokens of the global batch."""
        count = torch.zeros(1, device=torch.cuda.current_device())
        language = self.groups.get(LANGUAGE)
        if language and language.tp.rank() == 0 and num_tokens is not None:
            own = num_tokens.float().sum().view(1)
            dist.all_reduce(own, group=language.dp_cp)
            count.copy_(own)
        dist.broadcast(count, src=self.grids[LANGUAGE].rank_offset)
        scale = 1.0 / max(count.item(), 1.0)
        modules = {LANGUAGE: self.model.language_model} | dict(self.model.modality_submodules)
        for key, module in modules.items():
            if module is not None:
                finalize_model_grads([module], num_tokens=None, pg_collection=self.groups[key])
                module.scale_gradients(scale)


def forward_step(microbatches: Any, model: Any) -> tuple[Any, Any]:
    """One microbatch through the model, and what makes a loss of its output."""
    output, loss_mask = model(**next(microbatches))
    return output, partial(loss, loss_mask)


def loss(loss_mask: torch.Tensor, losses: torch.Tensor) -> tuple[Any, Any, dict[str, Any]]:
    """The sum of token losses, the tokens, and both for the log."""
    total, tokens = (losses.float() * loss_mask.float()).sum(), loss_mask.sum().int()
    return total, tokens, {"lm loss": torch.stack([total.detach(), tokens.float()])}


def sizes_of(grid: Grid) -> dict[str, int]:
    """A grid's axes in megatron-core's words; experts take the rest of the ranks."""
    sizes = {axis: grid.size(axis) for axis in ("tp", "cp", "dp", "pp", "ep")}
    assert sizes["pp"] == 1, "written for one stage"
    etp = grid.size("etp")
    ranks = sizes["tp"] * sizes["cp"] * sizes["dp"]
    return sizes | {"expt_tp": etp, "expt_dp": ranks // etp // sizes["ep"]}


def make_grid(sizes: Mapping[str, int], offset: int) -> HyperCommGrid:
    """A grid with its expert view and every group that the model asks for."""
    base, expert = ["tp", "cp", "dp", "pp"], ["expt_tp", "ep", "expt_dp", "pp"]
    grid = HyperCommGrid([sizes[axis] for axis in base], base, rank_offset=offset, backend="nccl")
    grid.register_view(EXPERT, [sizes[axis] for axis in expert], expert, shared_dims=["pp"])
    for axes in (
        *(["tp"], ["cp"], ["pp"], ["dp"], ["dp", "cp"], ["tp", "cp"], ["tp", "pp"], ["tp", "dp"]),
        *(["tp", "dp", "cp"], ["tp", "cp", "dp", "pp"]),
    ):
        grid.create_pg(axes)
    for axes in (["ep"], ["expt_tp"], ["expt_dp"], ["expt_tp", "ep"], ["expt_tp", "ep", "pp"]):
        grid.create_pg(axes, view=EXPERT)
    return grid


def collection(grid: HyperCommGrid) -> ProcessGroupCollection:
    """What layers, DDP and finalisation ask for, from a grid that this rank is in."""
    groups = ProcessGroupCollection()
    for name in ("tp", "cp", "pp", "dp"):
        setattr(groups, name, grid.get_pg(name))
    groups.dp_cp = groups.intra_dp_cp = groups.dp_cp_gtp_remat = grid.get_pg(["dp", "cp"])
    groups.tp_cp = grid.get_pg(["tp", "cp"])
    groups.tp_dp = grid.get_pg(["tp", "dp"])
    groups.tp_dp_cp = grid.get_pg(["tp", "dp", "cp"])
    groups.mp = grid.get_pg(["tp", "pp"])
    groups.intra_dist_opt = grid.get_pg(["tp", "cp", "dp", "pp"])
    for name in ("ep", "expt_tp", "expt_dp"):
        setattr(groups, name, grid.get_pg(name, view=EXPERT))
    groups.intra_expt_dp = groups.expt_dp_gtp_remat = groups.expt_dp
    groups.tp_ep = grid.get_pg(["expt_tp", "ep"], view=EXPERT)
    groups.tp_ep_pp = grid.get_pg(["expt_tp", "ep", "pp"], view=EXPERT)
    groups.embd = groups.pp
    groups.pos_embd = None
    return groups


def seed(number: int, groups: ProcessGroupCollection) -> None:
    """Seed weights; what is compared is given mimodsl's weights afterwards."""
    torch.manual_seed(number)
    ranks = {"tp_rank": groups.tp.rank(), "ep_rank": groups.ep.rank()}
    model_parallel_cuda_manual_seed(number, etp_rank=groups.expt_tp.rank(), **ranks)


def optimizer_config(spec: Spec) -> OptimizerConfig:
    """AdamW with the spec's numbers."""
    adamw = spec.train.optimizer
    bf16 = spec.train.precision.value == "bf16"
    return OptimizerConfig(
        optimizer="adam",
        lr=adamw.lr,
        weight_decay=adamw.weight_decay,
        adam_beta1=adamw.beta1,
        adam_beta2=adamw.beta2,
        adam_eps=adamw.eps,
        clip_grad=adamw.clip,
        params_dtype=torch.bfloat16 if bf16 else torch.float32,
        bf16=bf16,
        use_distributed_optimizer=True,
        overlap_param_gather=spec.train.ddp.overlap_param_gather,
    )
