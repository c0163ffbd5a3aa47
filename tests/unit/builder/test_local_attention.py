"""Flash attention of the local kernels, against megatron-core's own attention in full."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.random import (
    get_cuda_rng_tracker,
    model_parallel_cuda_manual_seed,
)
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.spec_utils import build_module
from torch import Tensor, nn

from mimodsl.ir import Attention
from mimodsl.ir.kinds import Recompute
from mimodsl.megatron.local_attention import FlashAttention
from tests.unit.builder.built import language_config, language_spec
from tests.unit.builder.models import DENSE_GPT, spec
from tests.unit.builder.unwrapped import left_to_autograd

SEQUENCE, BATCH, CHANNELS = 9, 2, 16


def core(
    kind: type[DotProductAttention],
    groups: ProcessGroupCollection,
    mask: AttnMaskType = AttnMaskType.causal,
    *,
    heads: Attention | None = None,
    scale: float | None = None,
    sequence_parallel: bool = False,
) -> DotProductAttention:
    heads = heads or Attention(heads=4)
    config = language_config(spec(attrs.evolve(DENSE_GPT, attention=heads, attention_dropout=0.5)))
    config.sequence_parallel = sequence_parallel
    return kind(config, 1, mask, "self", softmax_scale=scale, pg_collection=groups)


def heads_of(heads: int, groups: int) -> list[Tensor]:
    return [torch.randn(SEQUENCE, BATCH, n, CHANNELS) for n in (heads, groups, groups)]


def with_gradients(attend: Any, inputs: list[Tensor], mask: Tensor | None) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = attend(*leaves, mask)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    return [out, *torch.autograd.grad(out, leaves, pull)]


@pytest.mark.parametrize("mask", [AttnMaskType.causal, AttnMaskType.no_mask])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_outputs_and_gradients_are_those_of_attention_in_full(
    groups: ProcessGroupCollection, mask: AttnMaskType, heads: tuple[int, int], scale: float | None
) -> None:
    attention = Attention(heads=heads[0], kv_groups=heads[1])
    build = partial(core, groups=groups, mask=mask, heads=attention, scale=scale)
    flash, full = build(FlashAttention).eval(), build(DotProductAttention).eval()
    inputs = heads_of(*heads)
    found, wanted = (with_gradients(attend, inputs, None) for attend in (flash, full))
    assert found[0].is_contiguous()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [AttnMaskType.causal, AttnMaskType.no_mask])
def test_a_mask_that_is_given_stands_in_the_place_of_a_causal_one(
    groups: ProcessGroupCollection, kind: AttnMaskType
) -> None:
    flash, full = (core(c, groups, kind).eval() for c in (FlashAttention, DotProductAttention))
    mask = torch.rand(BATCH, 1, SEQUENCE, SEQUENCE) < 0.4
    mask[..., 0] = False  # every query looks somewhere
    inputs = heads_of(4, 4)
    found, wanted = (with_gradients(attend, inputs, mask) for attend in (flash, full))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_dropout_scales_what_is_left_and_stops_in_evaluation(
    groups: ProcessGroupCollection,
) -> None:
    flash = core(FlashAttention, groups, AttnMaskType.no_mask)
    query, key, _ = heads_of(4, 4)
    ones = torch.ones_like(query)
    torch.testing.assert_close(flash.eval()(query, key, ones, None), ones.flatten(2))
    flash.train()
    dropped = torch.stack([flash(query, key, ones, None) for _ in range(200)])
    assert dropped.std(0).min() > 0.1
    torch.testing.assert_close(dropped.mean(), torch.tensor(1.0), rtol=0.02, atol=0.0)


@pytest.mark.parametrize("sequence_parallel", [True, False])
def test_dropout_draws_where_megatrons_does(
    groups: ProcessGroupCollection, sequence_parallel: bool
) -> None:
    """From the tracker's generator, which tp ranks have apart, unless the sequence is split."""

    def moved(kind: type[DotProductAttention]) -> tuple[bool, bool]:
        attend = core(kind, groups, sequence_parallel=sequence_parallel)
        tracker, inputs = get_cuda_rng_tracker(), heads_of(4, 4)
        states = [torch.get_rng_state(), *tracker.get_states().values()]
        attend(*inputs, None)
        after = [torch.get_rng_state(), *tracker.get_states().values()]
        same = [torch.equal(a, b) for a, b in zip(states, after, strict=True)]
        return same[0], all(same[1:])

    ours, theirs = moved(FlashAttention), moved(DotProductAttention)
    assert ours == theirs == (not sequence_parallel, sequence_parallel)


def test_a_decoder_attends_by_it_and_recomputes_it(groups: ProcessGroupCollection) -> None:
    def losses_and_gradients(recompute: Recompute) -> list[Tensor]:
        torch.manual_seed(3)
        model_parallel_cuda_manual_seed(3, tp_rank=0, ep_rank=0, etp_rank=0, force_reset_rng=True)
        model: nn.Module = build_module(
            language_spec(spec(attrs.evolve(DENSE_GPT, recompute=recompute)), groups)
        )
        assert sum(isinstance(part, FlashAttention) for part in model.modules()) == 2
        tokens = torch.arange(24).view(2, 12)
        losses = left_to_autograd(model)(
            tokens, torch.arange(12).expand(2, 12), None, labels=tokens
        )
        losses.sum().backward()
        return [losses, *(p.grad for p in model.parameters() if p.grad is not None)]

    kept, again = (losses_and_gradients(how) for how in (Recompute.NONE, Recompute.SELECTIVE))
    assert len(kept) > 10
    torch.testing.assert_close(again, kept, rtol=0.0, atol=0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("mask", [AttnMaskType.causal, AttnMaskType.no_mask])
@pytest.mark.parametrize("heads", [(16, 16), (16, 2)])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_on_a_gpu_it_holds_no_scores(
    mask: AttnMaskType, heads: tuple[int, int], dtype: torch.dtype, rounding: float
) -> None:
    sequence, channels = 2048, 64
    attention = Attention(heads=heads[0], kv_groups=heads[1], head_dim=channels)
    config = language_config(spec(attrs.evolve(DENSE_GPT, attention=attention)))
    tp = SimpleNamespace(size=lambda: 1, rank=lambda: 0)
    flash = FlashAttention(config, 1, mask, "self", pg_collection=SimpleNamespace(tp=tp))
    inputs = [
        torch.randn(sequence, 1, n, channels, device="cuda", dtype=dtype, requires_grad=True)
        for n in (heads[0], heads[1], heads[1])
    ]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = flash(*inputs, None)
    found = [out, *torch.autograd.grad(out.sum(), inputs)]
    assert torch.cuda.max_memory_allocated() - before < heads[0] * sequence**2 * dtype.itemsize

    exact = [x.detach().double().requires_grad_() for x in inputs]
    query, key, value = (x.permute(1, 2, 0, 3) for x in exact)
    each = heads[0] // heads[1]
    scores = query @ key.repeat_interleave(each, 1).mT / channels**0.5
    if mask is AttnMaskType.causal:
        scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    context = scores.softmax(-1) @ value.repeat_interleave(each, 1)
    wanted = [context.permute(2, 0, 1, 3).flatten(2)]
    wanted += torch.autograd.grad(wanted[0].sum(), exact)
    for tensor, reference in zip(found, wanted, strict=True):
        assert (tensor.double() - reference).norm() < rounding * reference.norm()
