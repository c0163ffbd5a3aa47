"""Layer specs: which modules each kernel set puts where."""

import dataclasses
from functools import partial
from typing import Any

import attrs
import pytest
import torch
import torch.nn.functional as F
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.spec_utils import ModuleSpec, build_module
from megatron.core.transformer.transformer_config import TransformerConfig

from mimodsl.builder import kernels, program
from mimodsl.builder.families.decoder import gpt_block
from mimodsl.builder.families.hybrid import hybrid_stack
from mimodsl.ir import Kernels
from mimodsl.ir.kinds import Norm
from mimodsl.megatron.local_layers import LocalNorm, NormColumnParallelLinear
from tests.unit.builder.built import language_config, language_spec
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE_GPT, spec


def plain(value: Any) -> Any:
    """A spec as nested tuples, its builders by what they build and from what; where experts have a
    choice, what megatron-core has."""
    if isinstance(value, partial):
        if value.func is kernels.grouped_experts:
            return plain(value.keywords["theirs"])
        keywords = {name: plain(item) for name, item in sorted(value.keywords.items())}
        return getattr(value.func, "__func__", value.func), keywords
    if isinstance(value, ModuleSpec):
        return value.module, value.params, plain(value.submodules)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    return value


@pytest.mark.parametrize("layer", ["mamba_layer", "attention_layer", "mlp_layer", "moe_layer"])
def test_transformer_engine_stack_is_megatrons_own(layer: str) -> None:
    grouped = dataclasses.replace(language_config(spec(HYBRID)), moe_grouped_gemm=True)
    ours = hybrid_stack(grouped, kernels.TransformerEngineKernels(), HybridStack)
    assert ours.module is hybrid_stack_spec.module
    mine, theirs = (getattr(stack.submodules, layer) for stack in (ours, hybrid_stack_spec))
    assert plain(mine) == plain(theirs)


SUITED = {"params_dtype": torch.bfloat16, "bf16": True}


@pytest.mark.parametrize(
    ("changes", "capability", "expected"),
    [
        (SUITED, (9, 0), "ours"),
        (SUITED, (10, 0), "ours"),
        (SUITED, (8, 0), "theirs"),
        (SUITED | {"moe_ffn_hidden_size": 28}, (9, 0), "theirs"),
        (SUITED | {"add_bias_linear": True}, (9, 0), "theirs"),
        ({}, (9, 0), "theirs"),
    ],
    ids=["Hopper", "Blackwell", "Ampere", "odd widths", "biases", "fp32"],
)
def test_experts_of_transformer_engine_are_torchs_product_where_it_takes_them(
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    capability: tuple[int, int],
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    config = dataclasses.replace(language_config(spec(HYBRID)), moe_grouped_gemm=True, **changes)

    def made(which: str) -> Any:
        return lambda count, config, **kwargs: (which, count, kwargs)

    found = kernels.grouped_experts(4, config, ours=made("ours"), theirs=made("theirs"), name="x")
    assert found == (expected, 4, {"name": "x"})


def test_auto_is_local_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(program, "find_spec", lambda _name: object())
    assert program.resolve(Kernels.AUTO) is Kernels.LOCAL
    assert program.resolve(Kernels.LOCAL) is Kernels.LOCAL
    with pytest.raises(ValueError, match="needs a GPU"):
        program.resolve(Kernels.TRANSFORMER_ENGINE)


def test_auto_is_transformer_engine_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(program, "find_spec", lambda _name: object())
    assert program.resolve(Kernels.AUTO) is Kernels.TRANSFORMER_ENGINE
    monkeypatch.setattr(program, "find_spec", lambda _name: None)
    assert program.resolve(Kernels.AUTO) is Kernels.LOCAL


def test_experts_stand_in_every_nth_layer_of_the_whole_decoder() -> None:
    config = language_config(spec(attrs.evolve(MOE_GPT, layers=6, moe_every=3)))
    config.pipeline_model_parallel_size = 2

    def has_experts(stage: int) -> list[bool]:
        block = gpt_block(config, kernels.LocalKernels(), stage)
        assert block.layer_specs is not None
        return [layer.submodules.mlp.func is MoELayer for layer in block.layer_specs]

    assert has_experts(0) == [True, False, False]
    assert has_experts(1) == [True, False, False]


def test_layers_that_do_not_divide_into_stages_are_refused_not_dropped() -> None:
    config = language_config(spec(attrs.evolve(DENSE_GPT, layers=3)))
    config.pipeline_model_parallel_size = 2
    with pytest.raises(AssertionError, match="num_layers=3 should be divisible"):
        gpt_block(config, kernels.LocalKernels(), 0)


def test_a_dense_decoder_has_no_experts() -> None:
    block = gpt_block(language_config(spec(DENSE_GPT)), kernels.LocalKernels(), 0)
    assert block.layer_specs is not None
    assert all(layer.submodules.mlp.func is not MoELayer for layer in block.layer_specs)


def _config(norm: Norm, *, sequence_parallel: bool) -> TransformerConfig:
    config = language_config(spec(attrs.evolve(HYBRID, norm=norm)))
    config.sequence_parallel = sequence_parallel
    return config


@pytest.mark.parametrize("sequence_parallel", [True, False])
@pytest.mark.parametrize("norm", list(Norm))
def test_a_norms_weights_say_whether_the_sequence_is_split(
    groups: ProcessGroupCollection, norm: Norm, sequence_parallel: bool
) -> None:
    config = _config(norm, sequence_parallel=sequence_parallel)
    local: Any = LocalNorm(config, 8)
    assert [p.sequence_parallel for p in local.parameters()] == [sequence_parallel] * (
        2 if norm is Norm.LAYERNORM else 1
    )


@pytest.mark.parametrize("norm", list(Norm))
def test_a_fused_linear_is_a_norm_and_a_linear(groups: ProcessGroupCollection, norm: Norm) -> None:
    config = _config(norm, sequence_parallel=False)
    fused = NormColumnParallelLinear(
        8, 6, config=config, init_method=torch.nn.init.normal_, bias=True, tp_group=groups.tp
    )
    torch.nn.init.normal_(fused.layer_norm_weight)
    x = torch.randn(3, 2, 8)
    centred = x - x.mean(-1, keepdim=True) if norm is Norm.LAYERNORM else x
    normed = centred / (centred.square().mean(-1, keepdim=True) + config.layernorm_epsilon).sqrt()
    out, _ = fused(x)
    torch.testing.assert_close(
        out, F.linear(normed * fused.layer_norm_weight, fused.weight, fused.bias)
    )


def test_the_last_stage_ends_in_a_local_norm(groups: ProcessGroupCollection) -> None:
    model = build_module(language_spec(spec(HYBRID), groups))
    assert isinstance(model.decoder.final_norm, LocalNorm)
    hidden = torch.randn(4, 1, HYBRID.hidden)
    out = model.decoder(hidden_states=hidden, attention_mask=None)
    torch.testing.assert_close(out.square().mean(-1), torch.ones(4, 1), rtol=1e-2, atol=1e-2)
