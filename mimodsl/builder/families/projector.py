"""Projectors of linear layers: tokens `[t, encoder width]` to `[t, hidden]`."""

from typing import Any

from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.vision.multimodal_projector import MultimodalProjector
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder.layers import norm_linear


def mlp_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,
    groups: ProcessGroupCollection,
    *,
    input_size: int,
    norm: bool,
) -> ModuleSpec:
    """An MLP projector: two linears, the first with a norm of its input or without."""
    first = norm_linear(kernels) if norm else kernels.column_parallel_linear()
    linears = MLPSubmodules(linear_fc1=first, linear_fc2=kernels.row_parallel_linear())
    return _projector("mlp", config, groups, input_size, linears)


def affine_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,  # noqa: ARG001 - has no linear for it
    groups: ProcessGroupCollection,
    *,
    input_size: int,
) -> ModuleSpec:
    """An affine projector, whose linear serves both kernel sets.

    MultimodalProjector gathers its output, which Transformer Engine's column linear refuses
    (extensions/transformer_engine.py, "class TEColumnParallelLinear … ValueError").
    """
    linears = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
    return _projector("affine", config, groups, input_size, linears)


def _projector(
    form: str,
    config: TransformerConfig,
    groups: ProcessGroupCollection,
    input_size: int,
    linears: Any,
) -> ModuleSpec:
    return ModuleSpec(
        module=MultimodalProjector,
        params={
            "config": config,
            "projector_type": form,
            "input_size": input_size,
            "tp_group": groups.tp,
        },
        submodules=linears,
    )
