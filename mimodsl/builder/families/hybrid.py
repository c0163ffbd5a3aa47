"""Decoders that follow a pattern of layers, a pipeline stage at a time."""

from typing import Any

from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.hybrid.hybrid_block import HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
from megatron.core.ssm.mamba_mixer import MambaMixer, MambaMixerSubmodules
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    MoETransformerLayer,
    TransformerLayer,
    TransformerLayerSubmodules,
)

from mimodsl.builder.decoders import Decoder, decoder_arguments
from mimodsl.builder.layers import (
    BIAS_DROPOUT_ADD,
    attention_layer,
    mlp_layer,
    moe_layer,
    norm_linear,
)


def hybrid_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,
    groups: ProcessGroupCollection,
    *,
    pattern: str,
    stack: type,
    **arguments: Any,
) -> ModuleSpec:
    """What MimoModel builds a hybrid from, on a rank with the model's groups."""
    layers = {
        "hybrid_stack_spec": hybrid_stack(config, kernels, stack),
        "hybrid_layer_pattern": pattern,
    }
    return ModuleSpec(
        module=HybridDecoder, params=decoder_arguments(config, groups) | arguments | layers
    )


class HybridDecoder(Decoder, HybridModel):
    """A decoder of a pattern: token ids `[b, s]` or embeddings `[s, b, h]` to losses `[b, s]`."""


def hybrid_stack(
    config: TransformerConfig, kernels: BackendSpecProvider, stack: type
) -> ModuleSpec:
    """The stack of a layer pattern: what each of its symbols `M * - E` is built from.

    `stack` is the class that holds the layers.

    With Transformer Engine this is `hybrid_stack_spec` (models/hybrid/hybrid_layer_specs.py) for
    these symbols; megatron-core has no other.
    """
    mamba = ModuleSpec(
        module=MambaMixer,
        submodules=MambaMixerSubmodules(
            in_proj=norm_linear(kernels), out_proj=kernels.row_parallel_linear()
        ),
    )
    return ModuleSpec(
        module=stack,
        submodules=HybridStackSubmodules(
            mamba_layer=ModuleSpec(
                module=MambaLayer,
                submodules=MambaLayerSubmodules(mixer=mamba, mamba_bda=BIAS_DROPOUT_ADD),
            ),
            attention_layer=ModuleSpec(
                module=TransformerLayer,
                submodules=TransformerLayerSubmodules(
                    self_attention=attention_layer(
                        kernels, AttnMaskType.causal, config.qk_layernorm
                    ),
                    self_attn_bda=BIAS_DROPOUT_ADD,
                ),
            ),
            mlp_layer=ModuleSpec(
                module=MLPLayer,
                submodules=TransformerLayerSubmodules(
                    mlp=mlp_layer(kernels), mlp_bda=BIAS_DROPOUT_ADD
                ),
            ),
            moe_layer=ModuleSpec(
                module=MoETransformerLayer,
                submodules=TransformerLayerSubmodules(
                    pre_mlp_layernorm=kernels.layer_norm(),
                    mlp=moe_layer(kernels, config),
                    mlp_bda=BIAS_DROPOUT_ADD,
                ),
            ),
        ),
    )
