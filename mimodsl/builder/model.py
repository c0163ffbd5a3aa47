"""The MimoModel of a spec on this rank: its modules seeded one by one, then each wrapped in DDP."""

from collections.abc import Mapping
from random import Random
from typing import Any, cast

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.enums import ModelType
from megatron.core.hyper_comm_grid import HyperCommGrid
from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.common.language_module.language_module import LanguageModule
from megatron.core.models.mimo import MimoModel, MimoModelConfig
from megatron.core.models.mimo.config.role import (
    MIMO_LANGUAGE_MODULE_KEY,
    ModuleLayout,
    ModuleStageInfo,
    RankRole,
)
from megatron.core.models.mimo.submodules.vision import VisionModalitySubmodules
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import nn

from mimodsl.builder.process_groups import ModuleGroups
from mimodsl.ir.spec import Spec
from mimodsl.planner.program.values import Modality, Part, Program


def mimo_names(spec: Spec) -> dict[str, str]:
    """Megatron-core's key of each module that it knows of, by our name.

    These are the encoders and the language model. A projector belongs to its encoder's modality.
    """
    encoders = {flow.encoder: flow.encoder for flow in spec.flows}
    return encoders | {spec.language.name: MIMO_LANGUAGE_MODULE_KEY}


def build_model(
    program: Program, grids: Mapping[str, HyperCommGrid], groups: Mapping[str, ModuleGroups]
) -> MimoModel:
    """Build this rank's modules, without DDP, on the current device.

    `groups` holds this rank's modules by megatron-core's key. Collective over the world where
    modules are colocated, unless the bridges' groups are given (`bridges.given_to_gathers`).
    """
    layers = {key: module.layers for key, module in groups.items()}
    parts = {name: modality.encoder for name, modality in program.modalities.items()}
    parts[MIMO_LANGUAGE_MODULE_KEY] = program.language
    config = MimoModelConfig(
        language_model_spec=_language_spec(program, layers.get(MIMO_LANGUAGE_MODULE_KEY)),
        modality_submodules_spec={
            name: _modality_spec(program, name, layers.get(name)) for name in program.modalities
        },
        special_token_ids={name: each.token for name, each in program.modalities.items()},
        module_to_grid_map={key: grids[part.grid] for key, part in parts.items()},
    )
    model = SeededMimoModel(config, layers=layers, seed=program.seed)
    _freeze(model, program)
    return model.to(device=torch.cuda.current_device())


def module_spec(
    part: Part, kernels: BackendSpecProvider, groups: ProcessGroupCollection
) -> ModuleSpec:
    """What megatron-core builds a module from on a rank with the module's groups.

    Raises:
        ValueError: what TransformerConfig refuses.
    """
    config = TransformerConfig(**part.config)
    return part.build(config, kernels, groups, **part.arguments)


def modality_spec(
    name: str,
    modality: Modality,
    kernels: BackendSpecProvider,
    groups: ProcessGroupCollection,
) -> ModuleSpec:
    """What MimoModel builds an encoder and its projector from, on a rank with their groups.

    The encoder's name is the modality's and the encoder's within it: it takes
    `modality_inputs[name][name]["x"]`, inputs `[n, *input_shape]`, and the modality gives
    `[n * tokens, hidden]`, as wide as the language model.
    """
    projectors = [] if modality.projector is None else [modality.projector]
    return ModuleSpec(
        module=VisionModalitySubmodules,
        params={"pg_collection": groups},
        submodules={
            "encoders": {name: module_spec(modality.encoder, kernels, groups)},
            "input_projections": [module_spec(part, kernels, groups) for part in projectors],
        },
    )


def _language_spec(program: Program, groups: ProcessGroupCollection | None) -> ModuleSpec:
    """What MimoModel builds the language model from; on other ranks it reads the config alone."""
    if groups is None:
        config = TransformerConfig(**program.language.config)
        return ModuleSpec(module=LanguageModule, params={"config": config})
    return module_spec(program.language, program.kernels, groups)


def _modality_spec(
    program: Program, name: str, groups: ProcessGroupCollection | None
) -> ModuleSpec:
    """What MimoModel builds a modality from; on other ranks it takes note of its name alone."""
    if groups is None:
        return ModuleSpec(module=VisionModalitySubmodules)
    return modality_spec(name, program.modalities[name], program.kernels, groups)


class SeededMimoModel(MimoModel):
    """A MimoModel that seeds each module before it is built, from the module's own layout.

    megatron-core builds all modules in one go and leaves their seeding to whoever set the
    one global tracker before. Colocated modules differ in tp and ep ranks, so each needs its own.
    """

    model_type = ModelType.encoder_or_decoder
    """The schedule without pipelining asks for it, and MimoModel has none
    (pipeline_parallel/schedules.py, "def forward_backward_no_pipelining … forward_data_store")."""

    def __init__(
        self, config: MimoModelConfig, *, layers: Mapping[str, ProcessGroupCollection], seed: int
    ) -> None:
        self._layers = layers
        self._seed = seed
        language = layers.get(MIMO_LANGUAGE_MODULE_KEY)
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            config, cp_group=language and language.cp, tp_group=language and language.tp
        )
        if self.role.mode is ModuleLayout.COLOCATED and language and language.pp.size() > 1:
            self.role = _pipelined(language)

    def _initialize_submodules(self) -> None:
        for name, spec in self.mimo_config.modality_submodules_spec.items():
            if name in self.role.modules:
                stage = self.role.modules[name]
                seed_module(self._seed, name, self._layers[name])
                self.modality_submodules[name] = cast(Any, spec).module.from_spec(
                    spec, is_first_stage=stage.is_first_stage, is_last_stage=stage.is_last_stage
                )

    def _initialize_language_model(self) -> None:
        if self.role.has_language_module:
            key = MIMO_LANGUAGE_MODULE_KEY
            seed_module(self._seed, key, self._layers[key])
        super()._initialize_language_model()


def _pipelined(language: ProcessGroupCollection) -> RankRole:
    """The role of a stage where the language model stands alone.

    megatron-core takes a single grid for colocated and forgets its stages
    (models/mimo/config/role.py, "def _all_grids_colocated").
    """
    rank, size = language.pp.rank(), language.pp.size()
    stage = ModuleStageInfo(is_first_stage=rank == 0, is_last_stage=rank == size - 1)
    return RankRole(modules={MIMO_LANGUAGE_MODULE_KEY: stage}, mode=ModuleLayout.NON_COLOCATED)


def seed_step(
    seed: int, names: Mapping[str, str], groups: Mapping[str, ProcessGroupCollection], step: int
) -> None:
    """Make what a step draws, such as dropout, a function of the seed and the step alone.

    So no checkpoint needs the states of generators, which another layout could not take up. The
    first of `names` that is in `groups` has the say, by the name that it stands for.
    """
    key = next(key for key in names if key in groups)
    seed_module(seed, f"{names[key]} step {step}", groups[key])


def seed_module(seed: int, name: str, groups: ProcessGroupCollection) -> None:
    """Seed every generator for one module's weights on this rank.

    Modules and pipeline stages draw from unrelated seeds; within one, megatron-core tells tp, ep
    and etp ranks apart and gives data-parallel replicas the same (tensor_parallel/random.py,
    "def model_parallel_cuda_manual_seed").
    """
    seed = Random(f"{seed} {name} {groups.pp.rank()}").getrandbits(31)
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    model_parallel_cuda_manual_seed(
        seed,
        tp_rank=groups.tp.rank(),
        ep_rank=groups.ep.rank() if groups.ep else 0,
        etp_rank=groups.expt_tp.rank() if groups.expt_tp else 0,
    )


def _freeze(model: MimoModel, program: Program) -> None:
    for name, module in program.modalities.items():
        if name in model.modality_submodules:
            modality: Any = model.modality_submodules[name]
            if module.encoder.frozen:
                modality.encoders.requires_grad_(False)
            if module.projector and module.projector.frozen:
                modality.input_projections.requires_grad_(False)
    language = cast(Any, model).language_model
    if language is not None and program.language.frozen:
        language.requires_grad_(False)
        for part in language.modules():
            if hasattr(part, "expert_bias"):
                # No parameter, and moved all the same (distributed/finalize_model_grads.py,
                # "def _update_router_expert_bias … hasattr").
                part.frozen_expert_bias = True


def wrap_in_ddp(
    model: MimoModel, ddp: Mapping[str, Any], groups: Mapping[str, ModuleGroups]
) -> None:
    """Wrap each module of the model, in place, in DDP over its own groups (by megatron-core's key).

    `ddp` holds arguments of DistributedDataParallelConfig.
    A module that is wholly frozen is wrapped, too, and then holds no gradient buffer at all.
    """
    for name, module in modules_of(model).items():
        wrapped = DistributedDataParallel(
            config=_config_of(module),
            # One each: DDP writes the bucket size that it settles on into its config.
            ddp_config=DistributedDataParallelConfig(**ddp),
            module=module,
            pg_collection=groups[name].gradients,
        )
        if name == MIMO_LANGUAGE_MODULE_KEY:
            model.language_model = wrapped
        else:
            model.modality_submodules[name] = wrapped


def modules_of(model: MimoModel) -> dict[str, Any]:
    """This rank's modules by megatron-core's key, encoders first."""
    modules: dict[str, Any] = dict(model.modality_submodules.items())
    language = cast(Any, model).language_model
    return modules if language is None else modules | {MIMO_LANGUAGE_MODULE_KEY: language}


def _config_of(module: nn.Module) -> Any:
    """A module's TransformerConfig; a modality has none itself, and its encoder's stands for it."""
    return next(part.config for part in module.modules() if hasattr(part, "config"))
