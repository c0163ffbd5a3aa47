"""Decoders of like layers, a pipeline stage at a time."""

from typing import Any

from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder.decoders import Decoder, decoder_arguments
from mimodsl.builder.layers import mlp_layer, moe_layer, transformer_layer


def gpt_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,
    groups: ProcessGroupCollection,
    **arguments: Any,
) -> ModuleSpec:
    """What MimoModel builds a gpt from, on a rank with the model's groups."""
    layers = gpt_block(config, kernels, groups.pp.rank())
    return ModuleSpec(
        module=GptDecoder,
        params=decoder_arguments(config, groups) | arguments | {"transformer_layer_spec": layers},
    )


class GptDecoder(Decoder, GPTModel):
    """A decoder of like layers: token ids `[b, s]` or embeddings `[s, b, h]` to losses `[b, s]`."""


def gpt_block(
    config: TransformerConfig, kernels: BackendSpecProvider, stage: int
) -> TransformerBlockSubmodules:
    """The layers of one pipeline stage of a decoder.

    With `moe_layer_freq` n, layer i of the whole decoder has experts where n divides i, from 0
    (models/gpt/gpt_layer_specs.py, "moe_use_legacy_grouped_gemm=config … config.moe_grouped_gemm").

    Raises:
        AssertionError: where the layers do not divide into the config's stages.
    """
    mask, qk_norm = AttnMaskType.causal, config.qk_layernorm
    dense = transformer_layer(kernels, mask, qk_norm, mlp_layer(kernels))
    experts = transformer_layer(
        kernels, mask, qk_norm, moe_layer(kernels, config), has_experts=True
    )
    every = config.moe_layer_freq
    assert isinstance(every, int)
    count = get_num_layers_to_build(config, pp_rank=stage)
    layers = range(stage * count, (stage + 1) * count)
    moe = config.num_moe_experts is not None
    return TransformerBlockSubmodules(
        layer_specs=[experts if moe and layer % every == 0 else dense for layer in layers],
        layer_norm=kernels.layer_norm(),
    )
