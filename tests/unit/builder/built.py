"""What the builder makes of single modules of a spec on this machine."""

from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder import model
from mimodsl.builder.program import program_here
from mimodsl.ir import Flow, Module, Spec
from mimodsl.planner.plan import plan
from mimodsl.planner.program.values import Program


def program(spec: Spec) -> Program:
    return program_here(plan(spec))


def language_config(spec: Spec) -> TransformerConfig:
    return TransformerConfig(**program(spec).language.config)


def encoder_config(spec: Spec, module: Module) -> TransformerConfig:
    return TransformerConfig(**program(spec).modalities[module.name].encoder.config)


def projector_config(spec: Spec, flow: Flow) -> TransformerConfig:
    projector = program(spec).modalities[flow.encoder].projector
    assert projector is not None
    return TransformerConfig(**projector.config)


def language_spec(spec: Spec, groups: ProcessGroupCollection) -> ModuleSpec:
    built = program(spec)
    return model.module_spec(built.language, built.kernels, groups)


def encoder_spec(spec: Spec, module: Module, groups: ProcessGroupCollection) -> ModuleSpec:
    built = program(spec)
    return model.module_spec(built.modalities[module.name].encoder, built.kernels, groups)


def modality_spec(spec: Spec, flow: Flow, groups: ProcessGroupCollection) -> ModuleSpec:
    built = program(spec)
    return model.modality_spec(flow.encoder, built.modalities[flow.encoder], built.kernels, groups)
