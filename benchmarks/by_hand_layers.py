"""Configs and layer specs of a Nemotron VLM by hand, as megatron-core's public example writes them.

Sizes are read from a spec, so that both sides of the comparison build one model; nothing else of
mimodsl is used. With Transformer Engine these are megatron-core's own layer specs. Without, they
are its local modules: its hybrid stack has no spec of them (models/hybrid/hybrid_layer_specs.py).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from megatron.core.activations import fast_gelu, squared_relu
from megatron.core.extensions import transformer_engine as te
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.gpt.moe_module_specs import get_moe_module_spec
from megatron.core.models.hybrid.hybrid_block import HybridStack, HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.models.mimo.submodules.vision import VisionModalitySubmodules
from megatron.core.models.multimodal.llava_model import pixel_shuffle
from megatron.core.models.vision.multimodal_projector import MultimodalProjector
from megatron.core.models.vision.radio import RADIOViTModel
from megatron.core.models.vision.vit_layer_specs import (
    get_vit_layer_with_local_spec,
    get_vit_layer_with_transformer_engine_spec,
)
from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
from megatron.core.ssm.mamba_mixer import MambaMixer, MambaMixerSubmodules
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.mlp import MLPSubmodules
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    MoETransformerLayer,
    TransformerLayer,
    TransformerLayerSubmodules,
)

from mimodsl.ir import Hybrid, Module, Radio, Spec

PUBLIC_FUSIONS = {"cross_entropy_loss_fusion": True, "use_fused_weighted_squared_relu": True}
"""What the public example's command line switches on and a spec says nothing of."""

TE_FUSIONS = {"moe_permute_fusion": True, "moe_router_fusion": True}
"""Those that need Transformer Engine."""


def language_config(
    spec: Spec, sizes: Mapping[str, int], *, use_te: bool, fusions: Mapping[str, bool]
) -> TransformerConfig:
    """The hybrid decoder's; `sizes` are its grid's, by axis."""
    kind = spec.language.kind
    assert isinstance(kind, Hybrid)
    mamba, attention, moe = kind.mamba, kind.attention, kind.moe
    assert mamba
    assert attention
    assert moe
    return TransformerConfig(
        **_shared(spec, sizes, use_te=use_te),
        num_layers=len(kind.layers),
        hidden_size=kind.hidden,
        ffn_hidden_size=kind.mlp_width,
        normalization="RMSNorm",
        layernorm_epsilon=kind.norm_eps,
        add_bias_linear=False,
        activation_func=squared_relu,
        init_method_std=kind.init_std,
        is_hybrid_model=True,
        sequence_parallel=sizes["tp"] > 1,
        num_attention_heads=attention.heads,
        num_query_groups=attention.key_value_groups,
        kv_channels=attention.head_dim,
        mamba_num_heads=mamba.heads,
        mamba_head_dim=mamba.head_dim,
        mamba_state_dim=mamba.state,
        mamba_num_groups=mamba.groups,
        expert_model_parallel_size=sizes["ep"],
        expert_tensor_parallel_size=sizes["expt_tp"],
        num_moe_experts=moe.experts,
        moe_router_topk=moe.topk,
        moe_ffn_hidden_size=moe.ffn,
        moe_shared_expert_intermediate_size=moe.shared_ffn,
        moe_shared_expert_overlap=moe.shared_overlap,
        moe_router_score_function="sigmoid",
        moe_router_topk_scaling_factor=moe.scaling,
        moe_router_enable_expert_bias=True,
        moe_router_load_balancing_type="seq_aux_loss",
        moe_aux_loss_coeff=moe.aux_loss,
        moe_router_dtype="fp32",
        moe_grouped_gemm=use_te,
        **fusions,
    )


def vision_config(spec: Spec, module: Module, tp: int, *, use_te: bool) -> TransformerConfig:
    """RADIO's."""
    kind = module.kind
    assert isinstance(kind, Radio)
    return TransformerConfig(
        **_shared(spec, {"tp": tp}, use_te=use_te),
        num_layers=kind.layers,
        hidden_size=kind.hidden,
        ffn_hidden_size=kind.ffn,
        num_attention_heads=kind.heads,
        normalization="LayerNorm",
        layernorm_epsilon=kind.norm_eps,
        add_bias_linear=kind.bias,
        add_qkv_bias=kind.qkv_bias,
        activation_func=fast_gelu,
        init_method_std=kind.init_std,
    )


def projection_config(spec: Spec, width: int, tp: int, *, use_te: bool) -> TransformerConfig:
    """The MLP projector's, which is four times as wide within as the features it takes."""
    hidden = spec.language.kind.hidden
    return TransformerConfig(
        **_shared(spec, {"tp": tp}, use_te=use_te),
        num_layers=1,
        hidden_size=hidden,
        ffn_hidden_size=4 * width,
        num_attention_heads=tp,
        kv_channels=1,
        add_bias_linear=False,
        activation_func=squared_relu,
    )


def _shared(spec: Spec, sizes: Mapping[str, int], *, use_te: bool) -> dict[str, Any]:
    bf16 = spec.train.precision.value == "bf16"
    dtype = torch.bfloat16 if bf16 else torch.float32
    return {
        "params_dtype": dtype,
        "pipeline_dtype": dtype,
        "bf16": bf16,
        "enable_autocast": False,
        "transformer_impl": "transformer_engine" if use_te else "local",
        "tensor_model_parallel_size": sizes["tp"],
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "bias_dropout_fusion": use_te,
        "gradient_accumulation_fusion": False,
        "calculate_per_token_loss": True,
        "variable_seq_lengths": True,
        "moe_token_dispatcher_type": "alltoall",
        "overlap_p2p_comm": False,
        "batch_p2p_comm": False,
    }


class Encoder(MegatronModule):
    """RADIO without its class tokens, squares of four patches folded into one token."""

    def __init__(
        self, config: TransformerConfig, kind: Radio, groups: Any, *, use_te: bool
    ) -> None:
        super().__init__(config=config)
        layer = get_vit_layer_with_transformer_engine_spec if use_te else local_vit_layer
        self.class_tokens = kind.class_tokens
        self.vit = RADIOViTModel(
            transformer_config=config,
            transformer_layer_spec=layer(),
            patch_dim=kind.patch,
            img_h=kind.image.height,
            img_w=kind.image.width,
            max_img_h=kind.max_image.height,
            max_img_w=kind.max_image.width,
            class_token_len=kind.class_tokens,
            add_class_token=True,
            embedder_bias=kind.embedder_bias,
            force_cpe_eval_mode=True,
            pg_collection=groups,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images `[n, 3, h, w]` to `[n, tokens, 4 * hidden]`."""
        tokens = self.vit(x.to(self.config.params_dtype))[:, self.class_tokens :]
        return pixel_shuffle(tokens, scale_factor=0.5)


def language_spec(
    spec: Spec, config: TransformerConfig, groups: Any, *, use_te: bool
) -> ModuleSpec:
    """The whole decoder on this rank."""
    kind = spec.language.kind
    return ModuleSpec(
        module=HybridModel,
        params={
            "config": config,
            "hybrid_stack_spec": hybrid_stack_spec if use_te else local_hybrid_stack(),
            "vocab_size": kind.vocabulary,
            "max_sequence_length": spec.schedule.sequence,
            "pre_process": True,
            "post_process": True,
            "hybrid_layer_pattern": kind.pattern,
            "position_embedding_type": "none",
            "share_embeddings_and_output_weights": False,
            "scatter_embedding_sequence_parallel": False,
            "parallel_output": True,
            "pg_collection": groups,
        },
    )


def vision_spec(spec: Spec, tp: int, groups: Any, *, use_te: bool) -> ModuleSpec:
    """RADIO and its projector."""
    flow = spec.flows[0]
    kind = spec.module(flow.encoder).kind
    assert isinstance(kind, Radio)
    config = vision_config(spec, spec.module(flow.encoder), tp, use_te=use_te)
    width = 4 * kind.hidden
    column, row = ColumnParallelLinear, RowParallelLinear
    if use_te:
        column, row = te.TEColumnParallelLinear, te.TERowParallelLinear
    projector = ModuleSpec(
        module=MultimodalProjector,
        params={
            "config": projection_config(spec, width, tp, use_te=use_te),
            "projector_type": "mlp",
            "input_size": width,
            "tp_group": groups and groups.tp,
        },
        submodules=MLPSubmodules(linear_fc1=column, linear_fc2=row),
    )
    encoder = ModuleSpec(
        module=Encoder,
        params={"config": config, "kind": kind, "groups": groups, "use_te": use_te},
    )
    return ModuleSpec(
        module=VisionModalitySubmodules,
        params={"pg_collection": groups},
        submodules={"encoders": {flow.encoder: encoder}, "input_projections": [projector]},
    )


def local_vit_layer() -> ModuleSpec:
    """megatron-core's own; only that it leaves the norm before the MLP to the layer."""
    return get_vit_layer_with_local_spec()


class LocalStack(HybridStack):
    """A stack that ends in torch's norm: HybridStack makes Transformer Engine's."""

    def __init__(self, config: TransformerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **(kwargs | {"post_layer_norm": False}))
        self.post_layer_norm = True
        self.final_norm = WrappedTorchNorm(config, config.hidden_size, config.layernorm_epsilon)


def local_hybrid_stack() -> ModuleSpec:
    """A norm, a linear, attention in full, experts one after the other."""
    add = {"self_attn_bda": get_bias_dropout_add}
    mixer = ModuleSpec(
        module=MambaMixer,
        submodules=MambaMixerSubmodules(in_proj=ColumnParallelLinear, out_proj=RowParallelLinear),
    )
    attention = ModuleSpec(
        module=SelfAttention,
        params={"attn_mask_type": AttnMaskType.causal},
        submodules=SelfAttentionSubmodules(
            linear_qkv=ColumnParallelLinear,
            core_attention=DotProductAttention,
            linear_proj=RowParallelLinear,
        ),
    )
    return ModuleSpec(
        module=LocalStack,
        submodules=HybridStackSubmodules(
            mamba_layer=ModuleSpec(
                module=MambaLayer,
                submodules=MambaLayerSubmodules(
                    norm=WrappedTorchNorm, mixer=mixer, mamba_bda=get_bias_dropout_add
                ),
            ),
            attention_layer=ModuleSpec(
                module=TransformerLayer,
                submodules=TransformerLayerSubmodules(
                    input_layernorm=WrappedTorchNorm, self_attention=attention, **add
                ),
            ),
            moe_layer=ModuleSpec(
                module=MoETransformerLayer,
                submodules=TransformerLayerSubmodules(
                    pre_mlp_layernorm=WrappedTorchNorm,
                    mlp=partial(get_moe_module_spec, use_te=False, moe_grouped_gemm=False)(
                        num_experts=8  # any: the config has the number
                    ),
                    mlp_bda=get_bias_dropout_add,
                ),
            ),
        ),
    )
