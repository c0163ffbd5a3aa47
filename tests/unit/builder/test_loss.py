"""The cross entropy: megatron-core's own, in less memory."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.cross_entropy import vocab_parallel_cross_entropy

from mimodsl.builder.families.decoder import GptDecoder
from mimodsl.builder.families.hybrid import HybridDecoder
from mimodsl.megatron.cross_entropy import ROWS_AT_ONCE, cross_entropy

TOKENS, VOCABULARY = (3, 2 * ROWS_AT_ONCE + 5), 96
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 4e-3}


def sample(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits `[s, b, v]`, labels `[b, s]`, and what losses are weighted with."""
    source = torch.Generator().manual_seed(3)
    batch, length = TOKENS
    logits = 4 * torch.randn(length, batch, VOCABULARY, generator=source)
    labels = torch.randint(VOCABULARY, TOKENS, generator=source)
    return logits.to(dtype), labels, torch.rand(TOKENS, generator=source)


def exact(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and the gradient of logits, in fp64."""
    wide = logits.double().requires_grad_()
    losses = wide.logsumexp(-1).t() - wide.transpose(0, 1).gather(-1, labels[..., None])[..., 0]
    (gradient,) = torch.autograd.grad(losses, wide, weights.double())
    return losses.detach(), gradient


def taken(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, group: Any) -> Any:
    """Losses and the gradient, by ours; the logits are those of a linear, as in a model."""
    leaf = logits.clone().requires_grad_()
    losses = cross_entropy(leaf * 1.0, labels, group)
    (gradient,) = torch.autograd.grad(losses, leaf, weights)
    return losses.detach(), gradient


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_it_is_the_cross_entropy(groups: ProcessGroupCollection, dtype: torch.dtype) -> None:
    losses, gradient = taken(*sample(dtype), groups.tp)
    wanted, slope = exact(*sample(dtype))
    assert losses.dtype == torch.float32
    assert losses.is_contiguous()
    assert gradient.dtype == dtype
    torch.testing.assert_close(losses.double(), wanted, rtol=1e-5, atol=1e-5)
    assert (gradient.double() - slope).norm() <= ROUNDING[dtype] * slope.norm()


def test_it_is_megatron_cores(groups: ProcessGroupCollection) -> None:
    logits, labels, weights = sample(torch.float32)
    losses, gradient = taken(logits, labels, weights, groups.tp)
    leaf = logits.clone().requires_grad_()
    theirs = vocab_parallel_cross_entropy(
        leaf * 1.0, labels.t().contiguous(), tp_group=groups.tp
    ).t()
    torch.testing.assert_close(losses, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, leaf, weights)[0])


def test_it_keeps_the_logits_and_numbers_by_token(groups: ProcessGroupCollection) -> None:
    logits, labels, _ = sample(torch.bfloat16)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    product = logits.requires_grad_() * 1.0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = cross_entropy(product, labels, groups.tp)
    size = product.numel() * product.element_size()
    assert sum(kept.values()) == size + labels.numel() * (4 + 8)
    losses.sum().backward()
    assert logits.grad is not None
    assert torch.equal(product.detach(), logits.grad), "the gradient took the logits' place"


def test_a_second_backward_pass_is_refused(groups: ProcessGroupCollection) -> None:
    """Its logits are gone."""
    logits, labels, _ = sample(torch.float32)
    loss = cross_entropy(logits.requires_grad_() * 1.0, labels, groups.tp).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_models_take_it() -> None:
    """Both decoders have one definition of it."""
    ours = GptDecoder.compute_language_model_loss
    assert HybridDecoder.compute_language_model_loss is ours
    assert ours.__module__ == "mimodsl.builder.decoders"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_on_a_gpu_it_holds_nothing_in_fp32(world: dist.ProcessGroup, dtype: torch.dtype) -> None:
    length, vocabulary = 1024, 16384
    logits = torch.randn(length, 2, vocabulary, device="cuda", dtype=dtype)
    labels = torch.randint(vocabulary, (2, length), device="cuda")
    weights = torch.full(labels.shape, 1 / labels.numel(), device="cuda")
    wanted, slope = exact(logits, labels, weights)
    for _ in range(2):  # the first compiles
        product = logits.clone().requires_grad_() * 1.0
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        losses = cross_entropy(product, labels, world)
        (gradient,) = torch.autograd.grad(losses, product, weights)
        most = torch.cuda.max_memory_allocated() - before
    assert most < product.numel() * product.element_size() / 8
    torch.testing.assert_close(losses.double(), wanted, rtol=1e-5, atol=1e-5)
    assert (gradient.double() - slope).norm() <= ROUNDING[dtype] * slope.norm()
