"""TransformerConfigs: every knob of a kind arrives in the field that it means."""

import attrs
import pytest
import torch
import torch.nn.functional as F
from megatron.core.activations import squared_relu
from megatron.core.transformer.moe import moe_utils
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder import program
from mimodsl.ir import (
    AffineProjector,
    Attention,
    Grid,
    Hybrid,
    Kernels,
    LanguageModel,
    Mamba,
    MlpProjector,
    Moe,
    Precision,
    Radio,
)
from mimodsl.ir.blocks import Balance, RouterPrecision, Score
from mimodsl.ir.facts import Derived
from mimodsl.ir.kinds import Activation, Recompute
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.node import Node
from mimodsl.ir.schema import schema
from tests.unit.builder import built
from tests.unit.builder.built import encoder_config, language_config, projector_config
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE_GPT, RADIO, VIT, spec

SPREAD = Grid(
    name="g",
    views={
        "dense": {"tp": 2, "cp": 1, "dp": 4, "pp": 2},
        "expert": {"etp": 1, "ep": 4, "edp": 2, "pp": None},
    },
)
NEMOTRON = Hybrid(
    hidden=2688,
    vocabulary=131072,
    pattern="MEMEM*EMEMEM*EMEMEM*",
    ffn=1856,
    attention=Attention(heads=32, kv_groups=8, head_dim=128),
    mamba=Mamba(heads=64, head_dim=64, state=128, groups=8),
    moe=Moe(
        experts=128,
        topk=6,
        ffn=1856,
        shared_ffn=3712,
        shared_overlap=True,
        score=Score.SIGMOID,
        expert_bias=True,
        scaling=2.5,
        balance=Balance.SEQ_AUX_LOSS,
        aux_loss=1e-4,
        router_dtype=RouterPrecision.FP32,
    ),
    init_std=0.0173,
)


def fields(config: TransformerConfig, **expected: object) -> None:
    assert {name: getattr(config, name) for name in expected} == expected


def test_the_production_language_model() -> None:
    config = language_config(spec(NEMOTRON, grid=SPREAD, precision=Precision.BF16))
    fields(
        config,
        num_layers=20,
        hidden_size=2688,
        num_attention_heads=32,
        num_query_groups=8,
        kv_channels=128,
        is_hybrid_model=True,
        mamba_num_heads=64,
        mamba_head_dim=64,
        mamba_state_dim=128,
        mamba_num_groups=8,
        num_moe_experts=128,
        moe_router_topk=6,
        moe_ffn_hidden_size=1856,
        moe_shared_expert_intermediate_size=3712,
        moe_shared_expert_overlap=True,
        moe_router_score_function="sigmoid",
        moe_router_enable_expert_bias=True,
        moe_router_topk_scaling_factor=2.5,
        moe_router_load_balancing_type="seq_aux_loss",
        moe_aux_loss_coeff=1e-4,
        moe_router_dtype="fp32",
        moe_token_dispatcher_type="alltoall",
        activation_func=squared_relu,
        gated_linear_unit=False,
        normalization="RMSNorm",
        add_bias_linear=False,
        init_method_std=0.0173,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        tensor_model_parallel_size=2,
        context_parallel_size=1,
        pipeline_model_parallel_size=2,
        expert_model_parallel_size=4,
        expert_tensor_parallel_size=1,
        sequence_parallel=True,
        params_dtype=torch.bfloat16,
        pipeline_dtype=torch.bfloat16,
        bf16=True,
        fp16=False,
        transformer_impl="local",
    )


def test_the_production_encoder_and_projector() -> None:
    radio = Radio(layers=32, hidden=1280, heads=16, ffn=5120)
    projector = MlpProjector(ffn=20480, activation=Activation.SQUARED_RELU)
    whole = spec(NEMOTRON, encoder=radio, projector=projector, grid=SPREAD)
    fields(
        encoder_config(whole, whole.module("vision")),
        num_layers=32,
        hidden_size=1280,
        num_attention_heads=16,
        kv_channels=80,
        ffn_hidden_size=5120,
        normalization="LayerNorm",
        layernorm_epsilon=1e-6,
        add_bias_linear=True,
        add_qkv_bias=True,
        sequence_parallel=False,
        expert_model_parallel_size=1,
        num_moe_experts=None,
    )
    fields(
        projector_config(whole, whole.flows[0]),
        hidden_size=2688,
        ffn_hidden_size=20480,
        activation_func=squared_relu,
        normalization="RMSNorm",
        add_bias_linear=False,
        sequence_parallel=False,
        tensor_model_parallel_size=2,
    )


@pytest.mark.parametrize("language", [HYBRID, DENSE_GPT, MOE_GPT])
@pytest.mark.parametrize("projector", [MlpProjector(), AffineProjector()])
def test_all_modules_agree_where_they_must(language: Hybrid, projector: MlpProjector) -> None:
    whole = spec(language, projector=projector, precision=Precision.FP16)
    everyone = (
        language_config(whole),
        encoder_config(whole, whole.module("vision")),
        projector_config(whole, whole.flows[0]),
    )
    for config in everyone:
        fields(
            config,
            calculate_per_token_loss=True,
            variable_seq_lengths=True,
            overlap_p2p_comm=False,
            batch_p2p_comm=False,
            deallocate_pipeline_outputs=False,
            gradient_accumulation_fusion=True,
            params_dtype=torch.float16,
            pipeline_dtype=torch.float16,
            enable_autocast=False,
        )


@pytest.mark.parametrize("activation", list(Activation))
def test_activations(activation: Activation) -> None:
    config = language_config(spec(attrs.evolve(HYBRID, activation=activation)))
    x = torch.linspace(-3, 3, 13)
    expected = {
        Activation.GELU: F.gelu(x),
        Activation.FAST_GELU: F.gelu(x, approximate="tanh"),
        Activation.QUICK_GELU: x * torch.sigmoid(1.702 * x),
        Activation.SILU: F.silu(x),
        Activation.RELU: x.clamp(min=0),
        Activation.SQUARED_RELU: x.clamp(min=0) ** 2,
        Activation.SWIGLU: F.silu(x),
        Activation.GEGLU: F.gelu(x),
    }[activation]
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(config.activation_func(x), expected)
    assert config.gated_linear_unit is activation.gated


@pytest.mark.parametrize(
    ("recompute", "expected"),
    [
        (Recompute.NONE, (None, None, None)),
        (Recompute.SELECTIVE, ("selective", None, None)),
        (Recompute.FULL, ("full", "uniform", 1)),
    ],
)
def test_recompute(recompute: Recompute, expected: tuple[object, ...]) -> None:
    whole = spec(encoder=attrs.evolve(VIT, recompute=recompute))
    config = encoder_config(whole, whole.module("vision"))
    assert expected == (
        config.recompute_granularity,
        config.recompute_method,
        config.recompute_num_layers,
    )


def test_a_pattern_without_attention_needs_no_heads() -> None:
    kind = attrs.evolve(HYBRID, pattern="MM", attention=None, moe=None)
    fields(language_config(spec(kind, grid=SPREAD)), num_layers=2, expert_model_parallel_size=1)


def test_sequence_parallelism_as_said() -> None:
    kind = attrs.evolve(HYBRID, moe=None, pattern="M*", sequence_parallel=False)
    assert not language_config(spec(kind, grid=SPREAD)).sequence_parallel


GROUPED = attrs.evolve(NEMOTRON, moe=attrs.evolve(NEMOTRON.moe, grouped_gemm=True))


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        (GROUPED, Precision.FP32),
        (GROUPED, Precision.FP16),
        (attrs.evolve(GROUPED, hidden=2692), Precision.BF16),
        (attrs.evolve(GROUPED, moe=attrs.evolve(GROUPED.moe, ffn=1860)), Precision.BF16),
        (attrs.evolve(GROUPED, bias=True), Precision.BF16),
    ],
)
def test_grouped_gemm_is_refused_where_no_kernel_has_it(kind: Hybrid, precision: Precision) -> None:
    with pytest.raises(ValueError, match=r"no grouped product of such experts \(MIMO731\)"):
        language_config(spec(kind, precision=precision))
    moe = attrs.evolve(kind.moe, grouped_gemm=None)
    unset = spec(attrs.evolve(kind, moe=moe), precision=precision)
    assert not language_config(unset).moe_grouped_gemm


def test_local_experts_are_grouped_unless_told_otherwise() -> None:
    for grouped, expected in ((None, True), (True, True), (False, False)):
        kind = attrs.evolve(NEMOTRON, moe=attrs.evolve(NEMOTRON.moe, grouped_gemm=grouped))
        config = language_config(spec(kind, grid=SPREAD, precision=Precision.BF16))
        assert config.moe_grouped_gemm is expected


def test_it_is_the_rows_of_a_ranks_part_that_torch_asks_for_16_bytes_of() -> None:
    moe = attrs.evolve(NEMOTRON.moe, ffn=24)
    for etp, grouped in ((1, True), (2, False)):
        whole = {"dense": {"tp": 2, "dp": 2}, "expert": {"etp": etp, "edp": 4 // etp, "pp": None}}
        kind = spec(
            attrs.evolve(NEMOTRON, moe=moe),
            grid=Grid(name="g", views=whole),
            precision=Precision.BF16,
        )
        assert language_config(kind).moe_grouped_gemm is grouped


PERMUTATIONS = (
    *("fused_permute", "fused_permute_with_probs", "fused_unpermute"),
    *("fused_sort_chunks_by_index", "fused_sort_chunks_by_index_with_probs"),
)
FUSIONS = ("moe_permute_fusion", "moe_router_fusion", "use_fused_weighted_squared_relu")


def fusions(monkeypatch: pytest.MonkeyPatch, kernels: Kernels, **changes: object) -> list[bool]:
    """Of permutation, routing and activation, of a Nemotron on these kernels."""
    with monkeypatch.context() as patch:
        patch.setattr(program, "resolve", lambda _: kernels)
        for name in PERMUTATIONS:  # asked for by the config, and not there without it
            patch.setattr(moe_utils, name, object())
        bias = bool(changes.pop("bias", False))
        kind = attrs.evolve(NEMOTRON, moe=attrs.evolve(NEMOTRON.moe, **changes), bias=bias)
        config = language_config(spec(kind, precision=Precision.BF16))
    return [getattr(config, name) for name in FUSIONS]


def test_kernels_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Transformer Engine as the public example's command line has it."""
    assert fusions(monkeypatch, Kernels.TRANSFORMER_ENGINE) == [True, True, True]
    assert fusions(monkeypatch, Kernels.LOCAL) == [False, False, True]


def test_they_are_where_there_is_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    te = Kernels.TRANSFORMER_ENGINE
    assert fusions(monkeypatch, te, permute_fusion=False) == [False, True, True]
    grouped: dict[str, object] = {"groups": 2, "group_topk": 1}
    assert fusions(monkeypatch, te, **grouped) == [True, False, True]
    for odd in ({"score": Score.SQRT_SOFTPLUS}, {"router_dtype": RouterPrecision.FP64}):
        assert fusions(monkeypatch, te, **odd) == [True, False, True]
    assert fusions(monkeypatch, te, bias=True) == [True, True, False]
    assert fusions(monkeypatch, te, grouped_gemm=False) == [True, True, False]


NODES = {
    "encoder": RADIO,
    "projector": MlpProjector(),
    "hybrid": HYBRID,
    "gpt": MOE_GPT,
    "attention": HYBRID.attention,
    "mamba": HYBRID.mamba,
    "experts": HYBRID.moe,
}


def config_fields(node: Node) -> dict[str, object]:
    """The config of the module that a node is, or is a block of, where all is recomputed."""
    if isinstance(node, MlpProjector):
        projector = built.program(spec(projector=node)).modalities["vision"].projector
        assert projector is not None
        return projector.config
    if isinstance(node, Radio):
        encoder = attrs.evolve(node, recompute=Recompute.FULL)
        return built.program(spec(encoder=encoder)).modalities["vision"].encoder.config
    language = node if isinstance(node, LanguageModel) else HYBRID
    return built.program(spec(attrs.evolve(language, recompute=Recompute.FULL))).language.config


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_no_field_that_megatron_has_a_name_for_is_ignored(node: Node) -> None:
    config = config_fields(node)
    assert config.keys() <= TransformerConfig.__dataclass_fields__.keys()
    assert megatron_fields(node).items() <= config.items()
    for field in schema(type(node)):
        named = field.facts and field.facts.megatron
        if isinstance(named, Derived):
            assert set(named.names) <= config.keys(), field.name
