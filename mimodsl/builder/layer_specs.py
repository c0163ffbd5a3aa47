"""Layer specs of every module kind, from either of two kernel sets.

A kernel set is a `BackendSpecProvider`, megatron-core's own word for it (models/backends.py): which
linear, norm, attention and expert modules a layer is made of. The specs here name the roles and
leave the modules to the set, so both sets give the same parameters under the same checkpoint keys.
"""

from functools import partial
from importlib.util import find_spec
from typing import Any, cast, override

import torch
from megatron.core.extensions.transformer_engine_spec_provider import TESpecProvider
from megatron.core.fusions.fused_bias_dropout import (
    get_bias_dropout_add,  # pyright: ignore[reportUnknownVariableType]
)
from megatron.core.models.backends import BackendSpecProvider, LocalSpecProvider
from megatron.core.models.gpt.moe_module_specs import get_moe_module_spec_for_backend
from megatron.core.models.hybrid.hybrid_block import HybridStack, HybridStackSubmodules
from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
from megatron.core.ssm.mamba_mixer import MambaMixer, MambaMixerSubmodules
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    MlpBuilder,
    MoETransformerLayer,
    TransformerLayer,
    TransformerLayerSubmodules,
)

from mimodsl.ir import Kernels
from mimodsl.megatron.local_attention import FlashAttention
from mimodsl.megatron.local_experts import GroupedMLP, has_grouped_product
from mimodsl.megatron.local_layers import (
    ExpertRowLinear,
    LocalHybridStack,
    LocalNorm,
    NormColumnParallelLinear,
)
from mimodsl.planner.experts import torch_takes

# Untyped, and a function where spec fields say type: build_module hands functions on as they are.
_BIAS_DROPOUT_ADD = cast(Any, get_bias_dropout_add)


class LocalKernels(LocalSpecProvider):
    """megatron-core's own modules, with norms that know sequence parallelism, and flash attention.

    As with Transformer Engine, a norm before a linear is a part of that linear.
    """

    @override
    def fuse_layernorm_and_linear(self) -> bool:
        return True

    @override
    def column_parallel_layer_norm_linear(self) -> type:
        return NormColumnParallelLinear

    @override
    def grouped_mlp_modules(self, moe_use_grouped_gemm: bool) -> Any:
        experts = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=ExpertRowLinear)
        kind = GroupedMLP if moe_use_grouped_gemm else SequentialMLP
        return partial(kind, submodules=experts)

    @override
    def layer_norm(
        self, rms_norm: bool = False, for_qk: bool = False, has_residual: bool = False
    ) -> type:
        return LocalNorm

    @override
    def core_attention(self) -> type:
        return FlashAttention


class TransformerEngineKernels(TESpecProvider):
    """megatron-core's own modules of Transformer Engine, and torch's grouped product of experts.

    Transformer Engine 2.12 multiplies expert by expert, on several streams: of sixteen, a product
    takes the host 2 ms, several times what it takes a GPU (benchmarks/gpu.md).
    """

    @override
    def grouped_mlp_modules(self, moe_use_grouped_gemm: bool) -> Any:
        theirs = super().grouped_mlp_modules(moe_use_grouped_gemm)
        if not moe_use_grouped_gemm:
            return theirs
        ours = LocalKernels().grouped_mlp_modules(moe_use_grouped_gemm)
        return partial(grouped_experts, ours=ours, theirs=theirs)


def grouped_experts(
    count: int, config: TransformerConfig, *, ours: Any, theirs: Any, **kwargs: Any
) -> Any:
    """Experts of one rank in torch's product where it takes them, else in Transformer Engine's."""
    sizes: Any = config
    width = sizes.moe_ffn_hidden_size // sizes.expert_tensor_parallel_size
    is_taken = has_grouped_product() and torch_takes(
        config.hidden_size, width, bf16=config.bf16, bias=config.add_bias_linear
    )
    return (ours if is_taken else theirs)(count, config, **kwargs)


def resolve(kernels: Kernels) -> Kernels:
    """The kernel set that `auto` stands for here: Transformer Engine's on a GPU that has it.

    Raises:
        ValueError: where Transformer Engine is asked for by name and cannot be had.
    """
    available = find_spec("transformer_engine") is not None and torch.cuda.is_available()
    if kernels is Kernels.AUTO:
        return Kernels.TRANSFORMER_ENGINE if available else Kernels.LOCAL
    if kernels is Kernels.TRANSFORMER_ENGINE and not available:
        raise ValueError(
            "kernels = transformer_engine needs a GPU and the extra `te`; "
            "`auto` takes the local kernels where they are missing"
        )
    return kernels


def backend(kernels: Kernels) -> BackendSpecProvider:
    """The modules of a resolved kernel set."""
    assert kernels is not Kernels.AUTO, "resolve first"
    return LocalKernels() if kernels is Kernels.LOCAL else TransformerEngineKernels()


def vision_layer(kernels: Kernels) -> ModuleSpec:
    """A layer of a vision transformer: every patch attends to every other."""
    modules = backend(kernels)
    return _transformer_layer(modules, AttnMaskType.no_mask, False, _mlp(modules))


def gpt_block(
    config: TransformerConfig, kernels: Kernels, stage: int
) -> TransformerBlockSubmodules:
    """The layers of one pipeline stage of a decoder.

    With `moe_layer_freq` n, layer i of the whole decoder has experts where n divides i, from 0
    (models/gpt/gpt_layer_specs.py:633).

    Raises:
        AssertionError: where the layers do not divide into the config's stages.
    """
    modules = backend(kernels)
    dense = _transformer_layer(modules, AttnMaskType.causal, config.qk_layernorm, _mlp(modules))
    experts = _transformer_layer(
        modules, AttnMaskType.causal, config.qk_layernorm, _moe(modules, config), has_experts=True
    )
    every = config.moe_layer_freq
    assert isinstance(every, int)
    count = get_num_layers_to_build(config, pp_rank=stage)
    layers = range(stage * count, (stage + 1) * count)
    moe = config.num_moe_experts is not None
    return TransformerBlockSubmodules(
        layer_specs=[experts if moe and layer % every == 0 else dense for layer in layers],
        layer_norm=modules.layer_norm(),
    )


def hybrid_stack(config: TransformerConfig, kernels: Kernels) -> ModuleSpec:
    """The stack of a layer pattern: what each of its symbols `M * - E` is built from.

    With Transformer Engine this is `hybrid_stack_spec` (models/hybrid/hybrid_layer_specs.py) for
    these symbols; megatron-core 0.19.2 has no other.
    """
    modules = backend(kernels)
    mamba = ModuleSpec(
        module=MambaMixer,
        submodules=MambaMixerSubmodules(
            in_proj=_norm_linear(modules), out_proj=modules.row_parallel_linear()
        ),
    )
    return ModuleSpec(
        module=LocalHybridStack if kernels is Kernels.LOCAL else HybridStack,
        submodules=HybridStackSubmodules(
            mamba_layer=ModuleSpec(
                module=MambaLayer,
                submodules=MambaLayerSubmodules(mixer=mamba, mamba_bda=_BIAS_DROPOUT_ADD),
            ),
            attention_layer=ModuleSpec(
                module=TransformerLayer,
                submodules=TransformerLayerSubmodules(
                    self_attention=_attention(modules, AttnMaskType.causal, config.qk_layernorm),
                    self_attn_bda=_BIAS_DROPOUT_ADD,
                ),
            ),
            mlp_layer=ModuleSpec(
                module=MLPLayer,
                submodules=TransformerLayerSubmodules(mlp=_mlp(modules), mlp_bda=_BIAS_DROPOUT_ADD),
            ),
            moe_layer=ModuleSpec(
                module=MoETransformerLayer,
                submodules=TransformerLayerSubmodules(
                    pre_mlp_layernorm=modules.layer_norm(),
                    mlp=_moe(modules, config),
                    mlp_bda=_BIAS_DROPOUT_ADD,
                ),
            ),
        ),
    )


def projector_mlp(kernels: Kernels, *, norm: bool) -> MLPSubmodules:
    """The two linears of an MLP projector, the first with a norm of its input or without."""
    modules = backend(kernels)
    fc1 = _norm_linear(modules) if norm else modules.column_parallel_linear()
    return MLPSubmodules(linear_fc1=fc1, linear_fc2=modules.row_parallel_linear())


def projector_affine() -> MLPSubmodules:
    """The one linear of an affine projector.

    MultimodalProjector gathers its output, which Transformer Engine's column linear refuses
    (extensions/transformer_engine.py:1413): the local one serves both kernel sets.
    """
    local = LocalKernels()
    return MLPSubmodules(
        linear_fc1=local.column_parallel_linear(), linear_fc2=local.row_parallel_linear()
    )


def _norm_linear(modules: BackendSpecProvider) -> Any:
    linear = modules.column_parallel_layer_norm_linear()
    assert linear is not None, "both kernel sets have one"
    return linear


def _transformer_layer(
    modules: BackendSpecProvider,
    mask: AttnMaskType,
    qk_norm: bool,
    mlp: MlpBuilder,
    *,
    has_experts: bool = False,
) -> ModuleSpec:
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            self_attention=_attention(modules, mask, qk_norm),
            self_attn_bda=_BIAS_DROPOUT_ADD,
            # A dense MLP's norm is in its first linear; the router needs normalised tokens too.
            pre_mlp_layernorm=modules.layer_norm() if has_experts else IdentityOp,
            mlp=mlp,
            mlp_bda=_BIAS_DROPOUT_ADD,
        ),
    )


def _attention(modules: BackendSpecProvider, mask: AttnMaskType, qk_norm: bool) -> ModuleSpec:
    head_norm = modules.layer_norm(for_qk=True) if qk_norm else None
    return ModuleSpec(
        module=SelfAttention,
        params={"attn_mask_type": mask},
        submodules=SelfAttentionSubmodules(
            linear_qkv=_norm_linear(modules),
            core_attention=modules.core_attention(),
            linear_proj=modules.row_parallel_linear(),
            q_layernorm=head_norm,
            k_layernorm=head_norm,
        ),
    )


def _mlp(modules: BackendSpecProvider) -> MlpBuilder:
    return partial(
        MLP.as_mlp_submodule,
        submodules=MLPSubmodules(
            linear_fc1=_norm_linear(modules),
            linear_fc2=modules.row_parallel_linear(),
        ),
    )


def _moe(modules: BackendSpecProvider, config: TransformerConfig) -> MlpBuilder:
    return get_moe_module_spec_for_backend(
        backend=modules,
        num_experts=config.num_moe_experts or 0,
        moe_grouped_gemm=config.moe_grouped_gemm,
    )
