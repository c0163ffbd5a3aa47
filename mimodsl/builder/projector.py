"""Projectors, and the modality that an encoder and its projector make."""

from megatron.core.models.mimo.submodules.vision import VisionModalitySubmodules
from megatron.core.models.vision.multimodal_projector import MultimodalProjector
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.spec_utils import ModuleSpec

from mimodsl.builder.configs import projector_config
from mimodsl.builder.custom import custom_spec
from mimodsl.builder.layer_specs import projector_affine, projector_mlp, resolve
from mimodsl.builder.radio import encoder_spec
from mimodsl.ir import CustomKind, Flow, MlpProjector, Spec


def modality_spec(spec: Spec, flow: Flow, groups: ProcessGroupCollection) -> ModuleSpec:
    """What MimoModel builds a flow's encoder and projector from, on a rank with their groups.

    The encoder's name is the modality's and the encoder's within it: it takes
    `modality_inputs[name][name]["x"]`, inputs `[n, *input_shape]`, and the modality gives
    `[n * tokens, hidden]`, as wide as the language model.
    """
    encoder = spec.module(flow.encoder)
    make = custom_spec if isinstance(encoder.kind, CustomKind) else encoder_spec
    projections = [] if flow.projector is None else [projector_spec(spec, flow, groups)]
    return ModuleSpec(
        module=VisionModalitySubmodules,
        params={"pg_collection": groups},
        submodules={
            "encoders": {flow.encoder: make(spec, encoder, groups)},
            "input_projections": projections,
        },
    )


def projector_spec(spec: Spec, flow: Flow, groups: ProcessGroupCollection) -> ModuleSpec:
    """What megatron-core builds a flow's projector from: `[t, encoder width]` to `[t, hidden]`."""
    assert flow.projector is not None
    module = spec.module(flow.projector)
    kind = module.kind
    if isinstance(kind, CustomKind):
        return custom_spec(spec, module, groups)
    is_mlp = isinstance(kind, MlpProjector)
    kernels = resolve(spec.train.kernels)
    return ModuleSpec(
        module=MultimodalProjector,
        params={
            "config": projector_config(spec, flow),
            "projector_type": "mlp" if is_mlp else "affine",
            "input_size": spec.encoder(flow).output_width,
            "tp_group": groups.tp,
        },
        submodules=(
            projector_mlp(kernels, norm=kind.norm is not None) if is_mlp else projector_affine()
        ),
    )
