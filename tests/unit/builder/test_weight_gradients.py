"""Gradients of weights that are added within their product are those that autograd adds."""

from functools import partial
from unittest import mock

import attrs
import pytest
import torch
from torch import Tensor

from mimodsl.builder.assembly import assemble
from mimodsl.ir import LanguageModel, Precision, Schedule, ScheduleKind
from mimodsl.ir.train import Ddp
from mimodsl.megatron.weight_gradients import add_product
from mimodsl.planner.program import common
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE_GPT, spec

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")

DTYPES = [
    (torch.float32, torch.float32, 1e-5),
    (torch.bfloat16, torch.float32, 1e-2),
    (torch.bfloat16, torch.bfloat16, 2e-2),
    (torch.float16, torch.float32, 2e-3),
]
KINDS = {
    "experts and Mamba": HYBRID,
    "experts": MOE_GPT,
    # Tied weights have a gradient of another layer, too.
    "tied": attrs.evolve(DENSE_GPT, tie_embeddings=True),
    "not tied": attrs.evolve(DENSE_GPT, tie_embeddings=False),
}


def product(device: str, dtype: torch.dtype, main: torch.dtype, tokens: int = 96) -> Tensor:
    """How far the sum is from the exact one, as a part of it."""
    source = torch.Generator(device).manual_seed(1)
    x, grad, before = (
        torch.randn(shape, generator=source, device=device)
        for shape in ((tokens, 24), (tokens, 40), (40, 24))
    )
    x, grad, after = x.to(dtype), grad.to(dtype), before.to(main)
    exact = after.double() + grad.double().T @ x.double()
    add_product(x, grad, after)
    assert after.dtype == main
    return (after - exact).norm() / exact.norm()


@pytest.mark.parametrize(("dtype", "main", "rounding"), DTYPES)
def test_a_product_is_added(dtype: torch.dtype, main: torch.dtype, rounding: float) -> None:
    assert product("cpu", dtype, main) < rounding
    assert product("cpu", dtype, main, tokens=0) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(("dtype", "main", "rounding"), DTYPES)
def test_on_a_gpu_a_product_is_not_rounded_before_it_is_added(
    dtype: torch.dtype, main: torch.dtype, rounding: float
) -> None:
    exactly = main == torch.float32 != dtype
    assert product("cuda", dtype, main) < (1e-6 if exactly else rounding)
    assert product("cuda", dtype, main, tokens=0) == 0


def gradients(
    kind: LanguageModel, precision: Precision, *, overlap: bool, fused: bool
) -> dict[str, Tensor]:
    """Every gradient after a step of three microbatches, by the parameter's name."""
    whole = spec(kind, precision=precision)
    schedule = Schedule(kind=ScheduleKind.NO_PIPELINING, sequence=32, microbatches=3)
    train = attrs.evolve(whole.train, ddp=Ddp(overlap_grad_reduce=overlap))
    whole = attrs.evolve(whole, schedule=schedule, train=train)
    kernels = partial(common.kernels, fuse_gradients=fused)
    with mock.patch.object(common, "kernels", kernels):
        assembly = assemble(whole)
    samples = list(microbatches(SyntheticData(spec=whole), 0, assembly.process_groups))
    assembly.model.zero_grad_buffer()
    assembly.forward_backward(samples)
    found = {}
    for name, parameter in assembly.model.named_parameters():
        assert parameter.grad is None, name
        found[name] = parameter.main_grad.clone()
    return found


@pytest.mark.usefixtures("lone_rank")
@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_gradient_is_what_autograd_adds(
    kind: LanguageModel, precision: Precision, overlap: bool
) -> None:
    fused, plain = (
        gradients(kind, precision, overlap=overlap, fused=fused) for fused in (True, False)
    )
    assert fused.keys() == plain.keys()
    within = 1e-5 if precision is Precision.FP32 else 1e-2
    for name, gradient in plain.items():
        assert gradient.norm() > 0 or "local_experts" in name, name
        assert (fused[name] - gradient).norm() <= within * gradient.norm(), name
