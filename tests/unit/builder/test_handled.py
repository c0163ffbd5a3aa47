"""Proofs of docs/megatron_facts.toml: what the builder sets right, what no spec can ask for."""

from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any

import attrs
import pytest
import torch
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.models.mimo.config.role import MIMO_LANGUAGE_MODULE_KEY
from megatron.core.models.mimo.optimizer import (
    _get_pg_collection_for_optimizer,
)
from megatron.core.optimizer import OptimizerConfig
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.layers import ColumnParallelLinear
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder import program
from mimodsl.builder.families.projector import affine_spec
from mimodsl.builder.kernels import LocalKernels, TransformerEngineKernels
from mimodsl.builder.model import modules_of
from mimodsl.ir import Attention, Gpt, Grid, Kernels, Moe, Precision, Spec, Train
from mimodsl.megatron import meta_device
from mimodsl.megatron.cpu import backend
from mimodsl.planner.plan import plan
from mimodsl.runtime import meta
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.unit.builder.built import (
    encoder_config,
    language_config,
    language_spec,
    projector_config,
)
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE, MOE_GPT, spec
from tests.unit.planner.specs import GPT, PIPELINE, SHARED, SIDE_BY_SIDE, vlm

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

WIDE = Grid(
    name="g",
    views={"dense": {"tp": 2, "dp": 2, "pp": 2}, "expert": {"ep": 2, "edp": 2, "pp": None}},
)
LAYOUTS = {"side by side": SIDE_BY_SIDE, "on the same ranks": SHARED, "a pipeline": PIPELINE}


@pytest.fixture
def active() -> Iterator[None]:
    with meta_device.activate():
        yield


def configs(whole: Spec) -> dict[str, TransformerConfig]:
    """The config of every module, by name."""
    return {
        "vision": encoder_config(whole, whole.module("vision")),
        "projector": projector_config(whole, whole.flows[0]),
        "language": language_config(whole),
    }


ALL_CONFIGS = [
    config
    for language in (HYBRID, MOE_GPT, DENSE_GPT)
    for grid in (WIDE, attrs.evolve(WIDE, views=WIDE.views[:1]))
    for config in configs(spec(attrs.evolve(language), grid=grid)).values()
]

OFF: dict[str, object] = {
    # Weights gathered over ranks when they are needed.
    "gtp_weight_remat_size": 1,
    "expert_gtp_weight_remat_size": 1,
    # Virtual and uneven pipelines.
    "virtual_pipeline_model_parallel_size": None,
    "num_layers_in_first_pipeline_stage": None,
    "num_layers_in_last_pipeline_stage": None,
    "pipeline_model_parallel_layout": None,
    "account_for_embedding_in_pipeline_split": False,
    "account_for_loss_in_pipeline_split": False,
    "defer_embedding_wgrad_compute": False,
    # Other precisions.
    "fp8": None,
    "fp8_param": False,
    "fp8_output_proj": False,
    "fp4": None,
    "fp4_param": False,
    "activation_func_fp8_input_store": False,
    "moe_router_padding_for_fp8": False,
    "moe_router_padding_for_quantization": False,
    "mamba_training_ssm_states_dtype": None,
    # Other attention, positions and initialisation.
    "multi_latent_attention": False,
    "experimental_attention_variant": None,
    "apply_rope_fusion": False,
    "fused_single_qkv_rope": False,
    "rotary_interleaved": False,
    "no_rope_freq": None,
    "flash_attention_version": None,
    "batch_invariant_mode": False,
    "cp_comm_type": None,
    "use_mup": False,
    "mtp_num_layers": None,
    "mrope_section": None,
    "softmax_type": "vanilla",
    # Offloading, graphs and fused kernels.
    "cpu_offloading": False,
    "fine_grained_activation_offloading": False,
    "moe_paged_stash": False,
    "distribute_saved_activations": False,
    "moe_layer_recompute": False,
    "enable_cuda_graph": False,
    "external_cuda_graph": False,
    "cuda_graph_impl": "none",
    "bias_activation_fusion": False,
    "fused_residual_rmsnorm": False,
    "use_te_activation_func": False,
    "symmetric_ar_type": None,
    "tp_comm_overlap": False,
    "inference_fuse_tp_communication": False,
    # Experts in other ways.
    "moe_latent_size": None,
    "use_transformer_engine_op_fuser": False,
    "moe_enable_deepep": False,
    "moe_flex_dispatcher_backend": "deepep",
    "moe_flex_dispatcher_num_sms": None,
    "moe_deepep_num_sms": None,
    "moe_hybridep_num_sms": None,
    "moe_expert_rank_capacity_factor": None,
    "moe_single_grouped_weight": False,
    "moe_single_grouped_bias": False,
    "moe_apply_probs_on_input": False,
    "moe_router_topk_limited_devices": None,
    "moe_router_fusion": False,
    "overlap_moe_expert_parallel_comm": False,
    "delay_wgrad_compute": False,
    "overlap_dispatch_backward_with_experts_wgrad": False,
    "ep_overlap_early_attn_memory_release": False,
    # Communication between stages.
    "overlap_p2p_comm_warmup_flush": False,
}


def test_what_the_language_cannot_ask_for_is_off() -> None:
    for config in ALL_CONFIGS:
        assert {name: getattr(config, name) for name in OFF} == OFF
        assert isinstance(config.moe_router_load_balancing_type, str)
        assert config.transformer_impl in ("local", "transformer_engine")


def test_modules_without_experts_say_so() -> None:
    built = configs(spec(HYBRID, grid=WIDE))
    dense = language_config(spec(DENSE_GPT, grid=WIDE))
    for config in (built["vision"], built["projector"], dense):
        assert config.num_moe_experts is None
        assert config.moe_ffn_hidden_size is None
        assert config.expert_model_parallel_size == 1
        assert config.moe_token_dispatcher_type == "alltoall"
    assert built["language"].num_moe_experts == HYBRID.moe.experts
    assert built["language"].expert_model_parallel_size == 2


def test_encoders_and_projectors_keep_their_sequence_whole() -> None:
    built = configs(spec(HYBRID, grid=WIDE))
    assert {name: config.sequence_parallel for name, config in built.items()} == {
        "vision": False,
        "projector": False,
        "language": True,
    }


def test_layers_are_counted_from_the_pattern() -> None:
    kind = attrs.evolve(HYBRID, pattern="ME|M*-|E")
    assert language_config(spec(kind)).num_layers == len("MEM*-E")


def test_a_config_has_no_sizes_of_layers_that_are_not_there() -> None:
    thirds = Grid(name="g", views={"dense": {"tp": 3}})
    idle = attrs.evolve(HYBRID, hidden=96, pattern="-", moe=attrs.evolve(MOE, score="softmax"))
    config = language_config(spec(idle, grid=thirds))
    assert (config.num_attention_heads, config.num_moe_experts) == (3, None)
    with pytest.raises(ValueError, match="num_attention_heads"):
        language_config(spec(attrs.evolve(idle, pattern="*"), grid=thirds))


def test_experts_with_biases_have_no_fused_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(program, "find_spec", lambda _name: object())
    moe = Moe(experts=4, topk=2, ffn=24, permute_fusion=False)
    base = Gpt(hidden=64, vocabulary=512, layers=2, attention=Attention(heads=4), moe=moe)

    def fused(*, bias: bool, moe: Moe | None) -> bool:
        kind = attrs.evolve(base, bias=bias, moe=moe)
        return language_config(spec(kind, kernels=Kernels.AUTO)).bias_dropout_fusion

    assert fused(bias=False, moe=moe)
    assert fused(bias=True, moe=None)
    assert not fused(bias=True, moe=moe)


def test_what_auto_cannot_have_here_is_refused_by_its_rule() -> None:
    long = Grid(name="g", views={"dense": {"cp": 2, "dp": 1}})
    for kind in (DENSE_GPT, attrs.evolve(HYBRID, pattern="M*", moe=None)):
        with pytest.raises(ValueError, match=r"no context-parallel attention \(MIMO731\)"):
            language_config(spec(kind, grid=long, kernels=Kernels.AUTO))
    mamba = attrs.evolve(HYBRID, pattern="M-", moe=None, attention=None)
    assert language_config(spec(mamba, grid=long, kernels=Kernels.AUTO)).context_parallel_size == 2


def test_an_affine_projector_gathers_with_either_kernels() -> None:
    nothing: Any = None
    for kernels in (LocalKernels(), TransformerEngineKernels()):
        built = affine_spec(nothing, kernels, ProcessGroupCollection(tp=nothing), input_size=1)
        assert built.submodules.linear_fc1 is ColumnParallelLinear


def test_text_embeddings_are_scattered_once() -> None:
    groups = ProcessGroupCollection(pp=_Alone())
    for language in (HYBRID, DENSE_GPT):
        params = language_spec(spec(language, grid=WIDE), groups).params
        assert params["scatter_embedding_sequence_parallel"] is False


class _Alone:
    """A group of one rank."""

    def rank(self) -> int:
        return 0

    def size(self) -> int:
        return 1


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("whole", LAYOUTS.values(), ids=LAYOUTS)
def test_the_optimizer_finds_its_groups_on_every_grid(whole: Spec) -> None:
    for rank in plan(whole).representatives():
        with meta.built(whole, rank) as assembly:
            for module in assembly.process_groups:
                grid = assembly.grids[whole.module(module).grid]
                groups = vars(_get_pg_collection_for_optimizer(grid))
                assert all(group is not None for group in groups.values())
                assert {"expt_dp", "tp_ep_pp", "intra_dist_opt", "mp"} <= groups.keys()


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("whole", LAYOUTS.values(), ids=LAYOUTS)
def test_modules_reach_megatron_under_their_names(whole: Spec) -> None:
    for rank in plan(whole).representatives():
        with meta.built(whole, rank) as assembly:
            model = assembly.model
            config = model.mimo_config
            assert set(config.modality_submodules_spec) == {"vision"}
            assert set(config.module_to_grid_map or {}) == {"vision", MIMO_LANGUAGE_MODULE_KEY}
            assert model.special_token_ids == {"vision": 511}
            for modality in model.modality_submodules.values():
                parts: Any = modality.module
                assert list(parts.encoders) == ["vision"]
                assert len(parts.input_projections) == 1
                assert not parts.output_projections
            if assembly.communicator is not None:
                topology = assembly.communicator.topology
                assert topology == {"vision": ["language"], "language": []}


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("whole", [SIDE_BY_SIDE, PIPELINE], ids=["side by side", "a pipeline"])
def test_encoders_send_two_dimensions(whole: Spec) -> None:
    with meta.built(whole, 0) as assembly:
        assert assembly.communicator is not None
        (bridge,) = assembly.communicator.bridge_comms
        assert bridge.tensor_ndim == 2
        assert bridge.dim_mapping == {"s": 0, "b": 1, "h": 2}


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("precision", list(Precision))
def test_messages_have_the_precision_of_what_is_sent(precision: Precision) -> None:
    whole = attrs.evolve(SIDE_BY_SIDE, train=Train(precision=precision))
    dtype = getattr(torch, {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[precision])
    for rank in plan(whole).representatives():
        with meta.built(whole, rank) as assembly:
            assert assembly.communicator is not None
            assert {bridge.comm_dtype for bridge in assembly.communicator.bridge_comms} == {dtype}
            assert not any(isinstance(part, Float16Module) for part in assembly.model.modules())
            for modality in assembly.model.modality_submodules.values():
                assert {weight.dtype for weight in modality.parameters()} == {dtype}


@pytest.mark.usefixtures("active")
def test_every_encoder_on_shared_ranks_has_a_bridge() -> None:
    whole = vlm(encoder={"dp": 4}, dense={"dp": 4}, language=GPT, colocated=True)
    with meta.built(whole, 1) as assembly:
        assert set(assembly.model.colocated_comms) == {("vision", "language")}


@pytest.mark.usefixtures("active")
def test_ddp_sums_and_has_one_optimizer_instance() -> None:
    own = DistributedDataParallelConfig()
    ours = {"use_distributed_optimizer", "overlap_grad_reduce", "overlap_param_gather"}
    ours |= {"grad_reduce_in_fp32", "bucket_size"}
    with meta.built(SHARED, 0) as assembly:
        for module in modules_of(assembly.model).values():
            for field in fields(own):
                if field.name not in ours:
                    value = getattr(module.ddp_config, field.name)
                    assert value == getattr(own, field.name), field.name
        optimizer: Any = assembly.optimizer.config
        plain = OptimizerConfig()
        for name in ("main_grads_dtype", "main_params_dtype", "exp_avg_dtype", "exp_avg_sq_dtype"):
            assert getattr(optimizer, name) == getattr(plain, name) == torch.float32
        assert optimizer.optimizer == "adam"
        assert not optimizer.use_precision_aware_optimizer
    assert own.average_in_collective is False
    assert own.num_distributed_optimizer_instances == 1


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_router_keeps_its_expert_bias(
    monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    finishing: Any = import_module("megatron.core.distributed.finalize_model_grads")
    moved: list[int] = []

    def update(_tokens: Any, bias: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        moved.append(len(bias))
        return bias

    monkeypatch.setattr(finishing, "get_updated_expert_bias", update)
    whole = spec(HYBRID)
    modules = [
        attrs.evolve(module, frozen=frozen and module.name == "language")
        for module in whole.modules
    ]
    with meta.built(attrs.evolve(whole, modules=modules), 0) as assembly:
        language = modules_of(assembly.model)[MIMO_LANGUAGE_MODULE_KEY]
        language.train()
        finishing._update_router_expert_bias([language], assembly.model.config)
    assert moved == ([] if frozen else [HYBRID.pattern.count("E")])


def test_batches_have_no_attention_mask() -> None:
    groups = dict.fromkeys(("vision", "projector", "language"), ProcessGroupCollection(dp=_Alone()))
    with backend.activate():
        (batch,) = microbatches(SyntheticData(spec=spec(HYBRID)), 0, groups)
    assert batch["attention_mask"] is None
