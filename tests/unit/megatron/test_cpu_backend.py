"""The CPU backend: what it gives a meaning to, and that it leaves nothing behind."""

import importlib
import logging
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.distributed as dist
from megatron.core import optimizer as megatron_optimizer
from megatron.core.activations import squared_relu
from megatron.core.tensor_parallel import random as megatron_random

from mimodsl.megatron.cpu import backend

PATCHES = [patch for group in backend.PATCHES.values() for patch in group]


@pytest.fixture
def active() -> Iterator[None]:
    with backend.activate():
        yield


def _patched() -> list[object]:
    return [getattr(importlib.import_module(patch.owner), patch.name) for patch in PATCHES]


def test_leaving_restores_every_name() -> None:
    before = _patched()
    with backend.activate():
        inside = _patched()
    changed = [a is not b for a, b in zip(before, inside, strict=True)]
    assert all(changed[: -len(backend.PATCHES["optimizer"])])
    assert _patched() == before
    assert torch.zeros(1).type() == "torch.FloatTensor"


def test_fused_optimizers_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = object()
    for patch in backend.PATCHES["optimizer"]:
        monkeypatch.setattr(importlib.import_module(patch.owner), patch.name, fused)
    with backend.activate():
        assert fused not in _patched()
        assert megatron_optimizer.Adam is torch.optim.AdamW
    assert megatron_optimizer.Adam is fused


def test_every_patch_says_why() -> None:
    assert all(patch.why for patch in PATCHES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(2, device="cuda"),
        lambda: torch.zeros(2, device="cuda:1"),
        lambda: torch.tensor([1.0], device=torch.device("cuda", 3)),
        lambda: torch.arange(3, device=torch.cuda.current_device()),
        lambda: torch.tensor([1], device="cpu", pin_memory=True).cuda(non_blocking=True),
        lambda: torch.ones(2).new_empty(3, device="cuda"),
        lambda: torch.empty_like(torch.ones(2), device="cuda"),
        lambda: torch.ones(2).cuda(),
        lambda: torch.ones(2).cuda(non_blocking=True),
        lambda: torch.ones(2).to("cuda"),
        lambda: torch.ones(2).to(device="cuda", dtype=torch.bfloat16),
        lambda: torch.nn.Linear(2, 2, device="cuda").cuda().weight,
    ],
)
def test_cuda_devices_are_the_cpu(active: None, make: Callable[[], torch.Tensor]) -> None:
    assert make().device.type == "cpu"


def test_other_devices_stay(active: None) -> None:
    assert torch.empty(2, device="meta").device.type == "meta"
    assert torch.ones(2).to(torch.float64).dtype == torch.float64


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float32, "torch.cuda.FloatTensor"),
        (torch.bfloat16, "torch.cuda.BFloat16Tensor"),
        (torch.float16, "torch.cuda.HalfTensor"),
    ],
)
def test_type_names_are_those_the_optimizer_asks_for(
    active: None, dtype: torch.dtype, name: str
) -> None:
    assert torch.zeros(1, dtype=dtype).type() == name
    assert torch.zeros(1).type(dtype).dtype == dtype


def test_no_gpu_is_available(active: None) -> None:
    assert not torch.cuda.is_available()


def test_streams_and_events_are_in_program_order(active: None) -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        event = side.record_event()
    event.synchronize()
    torch.cuda.Event(enable_timing=True).record(side)
    torch.cuda.synchronize()
    assert event.query()
    assert side == torch.cuda.current_stream()


def test_backward_runs_on_the_cpu_too(active: None) -> None:
    class Allocates(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:
            return grad * torch.full((1,), 2.0, device="cuda")

    x = torch.ones(3, requires_grad=True)
    Allocates.apply(x).sum().backward()
    torch.autograd.backward(Allocates.apply(x).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_fused_functions_run_eagerly(active: None) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert squared_relu(torch.tensor([-1.0, 3.0])).tolist() == [0.0, 9.0]
    assert torch._dynamo.utils.counters["frames"]["total"] == 0


def test_the_rng_tracker_forks_and_returns(active: None, caplog: pytest.LogCaptureFixture) -> None:
    def draws(seed: int) -> tuple[float, float, float]:
        megatron_random.model_parallel_cuda_manual_seed(
            seed, tp_rank=0, ep_rank=0, etp_rank=0, force_reset_rng=True
        )
        tracker = megatron_random.get_cuda_rng_tracker()
        outer = torch.rand(1).item()
        with tracker.fork():
            forked = torch.rand(1).item()
        return outer, forked, torch.rand(1).item()

    with caplog.at_level(logging.WARNING):
        first = draws(11)
        assert draws(11) == first
        assert draws(12) != first
    assert len(set(first)) == 3
    torch.manual_seed(11)
    assert (torch.rand(1).item(), torch.rand(1).item()) == (first[0], first[2])
    assert not caplog.records


def test_recomputation_draws_the_same_dropout(active: None) -> None:
    megatron_random.model_parallel_cuda_manual_seed(
        5, tp_rank=0, ep_rank=0, etp_rank=0, force_reset_rng=True
    )
    seen: list[torch.Tensor] = []

    def layer(x: torch.Tensor) -> torch.Tensor:
        with megatron_random.get_cuda_rng_tracker().fork():
            dropped = torch.nn.functional.dropout(x * 1.0, 0.5)
        seen.append(dropped.detach())
        return dropped

    x = torch.ones(64, requires_grad=True)
    megatron_random.checkpoint(layer, False, x).sum().backward()
    assert len(seen) == 2
    assert torch.equal(*seen)
    assert torch.equal(x.grad, seen[0])


class TestCollectives:
    @pytest.fixture(autouse=True)
    def _world(self, active: None) -> Iterator[None]:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()

    def test_groups_that_name_nccl_are_gloo(self) -> None:
        groups = [
            dist.new_group([0], backend="nccl"),
            dist.new_group([0], backend="nccl", pg_options=object()),
            dist.new_subgroups_by_enumeration([[0]], backend="nccl")[0],
        ]
        assert {dist.get_backend(group) for group in groups} == {"gloo"}

    def test_groups_without_a_backend_keep_the_default(self) -> None:
        assert dist.get_backend(dist.new_group([0])) == "gloo"

    @pytest.mark.parametrize("sizes", [torch.tensor([2]), torch.tensor([2]).numpy(), [2]])
    def test_split_sizes_may_be_tensors(self, sizes: object) -> None:
        output = torch.zeros(2)
        dist.all_to_all_single(output, torch.ones(2), sizes, sizes)
        dist.all_to_all_single(
            output, output + 1, output_split_sizes=sizes, input_split_sizes=sizes
        )
        assert output.tolist() == [2.0, 2.0]
