"""The fused cross entropy: where it is taken, and that it is the plain one there."""

import pytest
import torch
import torch.distributed as dist
from megatron.core.fusions.fused_cross_entropy import fused_vocab_parallel_cross_entropy
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.cross_entropy import vocab_parallel_cross_entropy

from mimodsl.build.configs import language_config
from mimodsl.ir import Precision
from tests.unit.build.models import spec


@pytest.mark.parametrize("has_gpu", [True, False])
@pytest.mark.parametrize("precision", list(Precision))
def test_it_is_taken_on_gpus_where_its_bf16_gradient_is_no_loss(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, has_gpu: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    config = language_config(spec(precision=precision))
    assert config.cross_entropy_loss_fusion is (has_gpu and precision is Precision.BF16)
    assert config.cross_entropy_fusion_impl == "native"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_it_is_the_plain_one_in_bf16_alone(
    groups: ProcessGroupCollection, dtype: torch.dtype
) -> None:
    """It keeps the same bytes, and no more than bf16 has of its gradients."""
    logits = torch.randn(6, 2, 96, dtype=dtype, requires_grad=True)  # both overwrite fp32 ones
    labels = torch.randint(96, (6, 2))

    def taken(fused: bool) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        kept: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor.untyped_storage().nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            if fused:
                losses = fused_vocab_parallel_cross_entropy(logits.clone(), labels, groups.tp)
            else:
                losses = vocab_parallel_cross_entropy(logits.clone(), labels, tp_group=groups.tp)
        (gradient,) = torch.autograd.grad(losses.mean(), logits)
        return losses.detach(), gradient, kept

    (fused, rounded, kept), (plain, gradient, kept_too) = taken(True), taken(False)
    assert torch.equal(fused, plain)
    assert kept == kept_too
    assert torch.equal(rounded, gradient.bfloat16().to(dtype))
    assert torch.equal(rounded, gradient) is (dtype is torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_compiled_on_a_gpu_it_is_the_plain_one(world: dist.ProcessGroup) -> None:
    logits = torch.randn(512, 2, 4096, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(4096, (512, 2), device="cuda")
    fused = fused_vocab_parallel_cross_entropy(logits, labels, world)
    plain = vocab_parallel_cross_entropy(logits, labels, tp_group=world)
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    found, wanted = (torch.autograd.grad(one.mean(), logits)[0] for one in (fused, plain))
    assert (found - wanted).norm() <= 4e-3 * wanted.norm()
