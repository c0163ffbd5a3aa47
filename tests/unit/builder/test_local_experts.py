"""The grouped product of local experts, against megatron-core's loop over them."""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import attrs
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from megatron.core.transformer.moe.experts import SequentialMLP
from torch import Tensor, nn

from mimodsl.builder.kernels import LocalKernels
from mimodsl.ir.kinds import Activation
from mimodsl.ir.train import Precision
from mimodsl.megatron.local_experts import GroupedMLP, GroupedProduct
from mimodsl.megatron.weight_gradients import provide_weight_gradients
from tests.unit.builder.built import language_config
from tests.unit.builder.models import MOE_GPT, spec
from tests.unit.builder.unwrapped import left_to_autograd

EXPERTS = 4
HIDDEN = MOE_GPT.hidden
SOME = (5, 0, 9, 2)


def experts(
    groups: Any,
    precision: Precision = Precision.BF16,
    activation: Activation = Activation.SQUARED_RELU,
    *,
    grouped: bool = True,
    count: int = EXPERTS,
) -> SequentialMLP:
    """Experts of the local kernels, with the weights that any others of their sizes have."""
    config = language_config(
        spec(attrs.evolve(MOE_GPT, activation=activation), precision=precision)
    )
    provide_weight_gradients()
    made = LocalKernels().grouped_mlp_modules(grouped)(count, config, pg_collection=groups)
    source = torch.Generator().manual_seed(3)
    for weight in made.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=source) * 0.1)
    return left_to_autograd(made)


def tokens_of(counts: Sequence[int], dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    """Tokens, their weights in the router's fp32, and a gradient of the output."""
    source, rows = torch.Generator().manual_seed(5), sum(counts)
    tokens, pull = (torch.randn(rows, HIDDEN, generator=source) for _ in range(2))
    probs = torch.rand(rows, generator=source).to(device)
    return [
        tokens.to(device, dtype).requires_grad_(),
        probs.requires_grad_(),
        pull.to(device, dtype),
    ]


def run(mlp: SequentialMLP, counts: Sequence[int], inputs: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of tokens, probabilities and every weight."""
    tokens, probs, pull = inputs
    out, bias = mlp(tokens, torch.tensor(counts, device=tokens.device), probs)
    assert bias is None
    return [out, *torch.autograd.grad(out, [tokens, probs, *mlp.parameters()], pull)]


def products(mlp: SequentialMLP, counts: Sequence[int], inputs: list[Tensor]) -> int:
    """How often the experts call the grouped product, forward and backward."""
    with mock.patch.object(F, "grouped_mm", wraps=F.grouped_mm) as product:
        run(mlp, counts, inputs)
    return product.call_count


@pytest.mark.parametrize(
    ("activation", "apart"), [(Activation.SQUARED_RELU, 2**-9), (Activation.SWIGLU, 1e-3)]
)
def test_outputs_and_gradients_are_those_of_the_loop(
    groups: ProcessGroupCollection, activation: Activation, apart: float
) -> None:
    """Each as near to the loop in fp32 as the loop in bf16 is, up to the order of sums; and where
    one kernel weighs the activation, which rounds elsewhere, up to a rounding to bf16."""
    grouped = experts(groups, activation=activation)
    loop = experts(groups, activation=activation, grouped=False)
    exact = experts(groups, Precision.FP32, activation, grouped=False)
    for rounded, weight in zip(loop.parameters(), exact.parameters(), strict=True):
        weight.data.copy_(rounded)
    assert isinstance(grouped, GroupedMLP)
    assert not isinstance(loop, GroupedMLP)

    @settings(max_examples=12, deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=EXPERTS, max_size=EXPERTS).filter(any))
    def compare(counts: list[int]) -> None:
        inputs = tokens_of(counts, torch.bfloat16)
        found, looped = run(grouped, counts, inputs), run(loop, counts, inputs)
        wanted = run(exact, counts, [x.detach().float().requires_grad_() for x in inputs])
        for one, other, reference in zip(found, looped, wanted, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            error, allowed = (one - reference).norm(), (other - reference).norm()
            assert error <= 1.1 * allowed + apart * reference.norm()

    compare()


def test_every_expert_is_in_each_product(groups: ProcessGroupCollection) -> None:
    inputs = tokens_of(SOME, torch.bfloat16)
    assert products(experts(groups), SOME, inputs) == 2 * 3  # outputs and gradients of two linears
    assert products(experts(groups, grouped=False), SOME, inputs) == 0


def test_parameters_and_checkpoints_are_those_of_the_loop(groups: ProcessGroupCollection) -> None:
    grouped, loop = (experts(groups, grouped=grouped) for grouped in (True, False))
    mine, theirs = (list(mlp.named_parameters()) for mlp in (grouped, loop))
    assert [name for name, _ in mine] == [name for name, _ in theirs]
    assert mine[0][0] == "local_experts.0.linear_fc1.weight"
    assert [vars(weight) for _, weight in mine] == [vars(weight) for _, weight in theirs]
    metadata = {"dp_cp_group": groups.dp_cp}
    mine, theirs = (mlp.sharded_state_dict("", metadata=metadata) for mlp in (grouped, loop))
    assert mine.keys() == theirs.keys() >= {name for name, _ in grouped.named_parameters()}
    for name, kept in mine.items():
        where = [(one.key, one.global_shape, one.global_offset) for one in (kept, theirs[name])]
        assert where[0] == where[1]


def test_a_count_is_never_read_back(groups: ProcessGroupCollection) -> None:
    """A tensor without numbers has none to read."""
    inputs = [x.detach().to("meta").requires_grad_() for x in tokens_of(SOME, torch.bfloat16)]
    shapes = [x.shape for x in run(experts(groups).to("meta"), SOME, inputs)]
    assert shapes == [x.shape for x in run(experts(groups), SOME, tokens_of(SOME, torch.bfloat16))]
    with pytest.raises(RuntimeError, match="meta"):
        run(experts(groups, grouped=False).to("meta"), SOME, inputs)


def test_frozen_experts_pass_gradients_on_and_keep_no_tokens(
    groups: ProcessGroupCollection,
) -> None:
    mlp = experts(groups).requires_grad_(False)
    tokens, probs, pull = tokens_of(SOME, torch.bfloat16)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out, _ = mlp(tokens, torch.tensor(SOME), probs)
    assert all(one.data_ptr() != tokens.data_ptr() for one in kept)
    (found,) = torch.autograd.grad(out, tokens, pull)
    trained = run(experts(groups), SOME, [tokens, probs, pull])
    assert torch.equal(found, trained[1])


def test_gradients_add_up_over_microbatches(groups: ProcessGroupCollection) -> None:
    mlp = experts(groups)
    inputs = tokens_of(SOME, torch.bfloat16)
    once = run(mlp, SOME, inputs)[3:]
    for _ in range(2):
        out, _ = mlp(inputs[0], torch.tensor(SOME), inputs[1])
        out.backward(inputs[2])
    for weight, gradient in zip(mlp.parameters(), once, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, 2 * gradient)


@pytest.mark.parametrize(("count", "rows"), [(EXPERTS, 0), (1, 7)])
def test_no_tokens_and_a_single_expert_are_left_to_the_loop(
    groups: ProcessGroupCollection, count: int, rows: int
) -> None:
    counts = [rows] * count
    inputs = tokens_of(counts, torch.bfloat16)
    mlp = experts(groups, count=count)
    assert products(mlp, counts, inputs) == 0
    assert len(run(mlp, counts, inputs)) == 3 + 2 * count


def test_weights_are_awaited_in_the_order_of_their_modules(groups: ProcessGroupCollection) -> None:
    """DDP gathers them in the forward pass, and says in hooks when one is there."""
    mlp = experts(groups)
    names = {module: name for name, module in mlp.named_modules()}
    seen: list[str] = []
    for module in mlp.modules():
        module.register_forward_pre_hook(lambda module, _: seen.append(names[module]))
    run(mlp, SOME, tokens_of(SOME, torch.bfloat16))
    linears = [name for name in seen if "linear" in name]
    assert linears == [
        f"local_experts.{i}.linear_{which}" for i in range(EXPERTS) for which in ("fc1", "fc2")
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("counts", [(512, 0, 1027, 1), (0, 0, 0, 3), (256, 256, 256, 256)])
@pytest.mark.parametrize("widths", [(256, 512), (264, 1856)])
def test_on_a_gpu_nothing_waits_and_sums_are_in_fp32(
    counts: tuple[int, ...], widths: tuple[int, int]
) -> None:
    if torch.cuda.get_device_capability()[0] not in (9, 10):
        pytest.skip("torch has no kernel for this GPU")
    k, n = widths
    x = torch.randn(sum(counts), k, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weights = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for _ in counts]
    weights = [nn.Parameter(weight) for weight in weights]
    pull = torch.randn(len(x), n, device="cuda", dtype=torch.bfloat16)
    ends = torch.tensor(counts, device="cuda").cumsum(0, dtype=torch.int32)
    product: Any = GroupedProduct.apply
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = product(x, ends, *weights)
        found = [out, *torch.autograd.grad(out, [x, *weights], pull)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    rows = list(zip(x.detach().double().split(counts), pull.double().split(counts), strict=True))
    wide = [weight.detach().double() for weight in weights]
    wanted = [
        torch.cat([x @ weight.T for (x, _), weight in zip(rows, wide, strict=True)]),
        torch.cat([pull @ weight for (_, pull), weight in zip(rows, wide, strict=True)]),
        *(pull.T @ x for x, pull in rows),
    ]
    for one, reference in zip(found, wanted, strict=True):
        assert (one.double() - reference).norm() <= 4e-3 * reference.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("activation", [Activation.SQUARED_RELU, Activation.SWIGLU])
def test_experts_on_a_gpu_are_those_of_the_loop(
    world: dist.ProcessGroup, activation: Activation
) -> None:
    model_parallel_cuda_manual_seed(7, tp_rank=0, ep_rank=0, etp_rank=0, force_reset_rng=True)
    groups = ProcessGroupCollection(ep=world, expt_tp=world, expt_dp=world)
    inputs = tokens_of(SOME, torch.bfloat16, "cuda")
    found, wanted = (
        run(experts(groups, activation=activation, grouped=grouped), SOME, inputs)
        for grouped in (True, False)
    )
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() <= 1e-2 * other.norm()
