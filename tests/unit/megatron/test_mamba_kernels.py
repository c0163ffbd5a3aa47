"""The plain-torch Mamba kernels against the recurrence, token by token, in fp64.

And on a GPU against the kernels that they stand in for.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.ssm import mamba_mixer
from torch import Tensor

from mimodsl.megatron.cpu import mamba_kernels
from mimodsl.megatron.cpu.mamba_kernels import (
    GatedRMSNorm,
    causal_conv1d,
    mamba_split_conv1d_scan_combined,
    ssd_scan,
)


def token_by_token(
    zxbcdt: Tensor,
    weight: Tensor,
    bias: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    headdim: int,
    ngroups: int,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
) -> Tensor:
    """The Mamba-2 layer as its paper's recurrence."""
    batch, length, _ = zxbcdt.shape
    heads, inner = A.shape[0], A.shape[0] * headdim
    state = (weight.shape[0] - inner) // 2 // ngroups
    z = zxbcdt[..., :inner]
    conv_in = zxbcdt[..., inner : inner + weight.shape[0]].transpose(1, 2)
    conv = F.conv1d(
        conv_in, weight.unsqueeze(1), bias, padding=weight.shape[1] - 1, groups=weight.shape[0]
    )
    x, B, C = torch.split(
        F.silu(conv[..., :length]).transpose(1, 2), [inner, ngroups * state, ngroups * state], -1
    )
    dt = F.softplus(zxbcdt[..., -heads:] + dt_bias).clamp(*dt_limit)
    H = zxbcdt.new_zeros(batch, heads, headdim, state)
    outputs = []
    for t in range(length):
        x_t = x[:, t].view(batch, heads, headdim)
        B_t = B[:, t].view(batch, ngroups, state).repeat_interleave(heads // ngroups, 1)
        C_t = C[:, t].view(batch, ngroups, state).repeat_interleave(heads // ngroups, 1)
        decay = torch.exp(dt[:, t] * A)
        H = H * decay[..., None, None] + torch.einsum("bh,bhp,bhn->bhpn", dt[:, t], x_t, B_t)
        y_t = torch.einsum("bhpn,bhn->bhp", H, C_t) + D.view(heads, -1) * x_t
        outputs.append(y_t.flatten(1))
    return torch.stack(outputs, 1) * F.silu(z)


def layer_inputs(
    batch: int, length: int, groups: int, per_group: int, p: int, n: int, seed: int
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    heads = groups * per_group
    channels = heads * p + 2 * groups * n
    return [
        normal(batch, length, channels + heads * p + heads),
        normal(channels, 4) * 0.5,
        normal(channels) * 0.5,
        normal(heads),
        -torch.rand(heads, generator=generator) * 4 - 0.1,
        normal(heads),
    ]


shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 3),
        "length": st.integers(1, 40),
        "groups": st.integers(1, 3),
        "per_group": st.integers(1, 3),
        "p": st.integers(1, 6),
        "n": st.integers(1, 6),
        "seed": st.integers(0, 2**16),
    }
)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, chunk=st.integers(1, 48))
def test_layer_and_gradients_follow_the_recurrence(shape: dict[str, int], chunk: int) -> None:
    inputs = layer_inputs(**shape)
    sizes = {"headdim": shape["p"], "ngroups": shape["groups"]}
    ours = [t.clone().requires_grad_() for t in inputs]
    theirs = [t.double().requires_grad_() for t in inputs]
    y = mamba_split_conv1d_scan_combined(*ours, chunk_size=chunk, **sizes)
    expected = token_by_token(*theirs, **sizes)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)

    pull = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    grads = torch.autograd.grad(y, ours, pull)
    wanted = torch.autograd.grad(expected, theirs, pull.double())
    for grad, want in zip(grads, wanted, strict=True):
        torch.testing.assert_close(grad.double(), want, rtol=1e-3, atol=1e-3)


def test_the_chunk_size_changes_nothing() -> None:
    inputs = layer_inputs(2, 50, 2, 2, 4, 8, seed=1)
    whole, *parts = [
        mamba_split_conv1d_scan_combined(*inputs, chunk_size=size, headdim=4, ngroups=2)
        for size in (64, 50, 16, 7, 1)
    ]
    for part in parts:
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


def test_a_skip_per_channel_and_a_limit_on_dt() -> None:
    inputs = layer_inputs(2, 20, 2, 2, 4, 8, seed=2)
    inputs[-1] = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    limit = (0.5, 0.9)
    y = mamba_split_conv1d_scan_combined(*inputs, chunk_size=8, ngroups=2, dt_limit=limit)
    expected = token_by_token(*(t.double() for t in inputs), headdim=4, ngroups=2, dt_limit=limit)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
    unlimited = mamba_split_conv1d_scan_combined(*inputs, chunk_size=8, ngroups=2)
    assert not torch.allclose(y, unlimited)


def test_no_token_sees_the_future() -> None:
    zxbcdt, *rest = layer_inputs(1, 24, 1, 2, 4, 4, seed=4)
    later = zxbcdt.clone()
    later[:, 13:] += 1.0
    before, after = [
        mamba_split_conv1d_scan_combined(inp, *rest, chunk_size=8, headdim=4)
        for inp in (zxbcdt, later)
    ]
    assert torch.equal(before[:, :13], after[:, :13])
    assert not torch.equal(before[:, 13:], after[:, 13:])


@pytest.mark.parametrize("rate", [1e-6, 50.0, 1e4])
def test_extreme_decay_stays_finite(rate: float) -> None:
    x = torch.ones(1, 256, 1, 2, requires_grad=True)
    log_decay = torch.full((1, 256, 1), -rate, requires_grad=True)
    ones = torch.ones(1, 256, 1, 3)
    y = ssd_scan(x, log_decay, ones, ones, chunk_size=64)
    y.sum().backward()
    for tensor in (y, x.grad, log_decay.grad):
        assert tensor is not None
        assert torch.isfinite(tensor).all()


def test_half_precision_in_half_precision_out() -> None:
    inputs = layer_inputs(1, 32, 1, 2, 8, 8, seed=5)
    exact = mamba_split_conv1d_scan_combined(*inputs, chunk_size=16, headdim=8)
    half = mamba_split_conv1d_scan_combined(
        inputs[0].bfloat16(), *inputs[1:], chunk_size=16, headdim=8
    )
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).norm() < 0.02 * exact.norm()


def test_what_it_does_not_do_it_refuses() -> None:
    inputs = layer_inputs(1, 4, 1, 1, 2, 2, seed=6)
    with pytest.raises(ValueError, match="packed"):
        mamba_split_conv1d_scan_combined(
            *inputs, chunk_size=2, headdim=2, seq_idx=torch.zeros(1, 4, dtype=torch.int32)
        )
    with pytest.raises(ValueError, match="silu"):
        mamba_split_conv1d_scan_combined(*inputs, chunk_size=2, headdim=2, activation="gelu")


def test_causal_conv1d_is_a_depthwise_convolution_of_the_past() -> None:
    x, weight, bias = torch.randn(2, 9, 5), torch.randn(5, 4), torch.randn(5)
    expected = F.conv1d(x.transpose(1, 2), weight.unsqueeze(1), bias, padding=3, groups=5)
    torch.testing.assert_close(causal_conv1d(x, weight, bias), expected[..., :9].transpose(1, 2))


@pytest.mark.parametrize("norm_before_gate", [True, False])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("group_size", [None, 4, 12])
def test_gated_norm(norm_before_gate: bool, gated: bool, group_size: int | None) -> None:
    norm = GatedRMSNorm(
        12, eps=0.1, group_size=group_size, norm_before_gate=norm_before_gate, dtype=torch.float64
    )
    torch.nn.init.normal_(norm.weight)
    x, z = torch.randn(3, 12).double(), torch.randn(3, 12).double() if gated else None
    size = group_size or 12
    gate = torch.ones_like(x) if z is None else z * torch.sigmoid(z)
    inner = x if norm_before_gate else x * gate
    rows = []
    for row in inner:
        groups = [row[i : i + size] for i in range(0, 12, size)]
        rows.append(torch.cat([g / ((g @ g) / size + 0.1).sqrt() for g in groups]) * norm.weight)
    expected = torch.stack(rows) * (gate if norm_before_gate else 1)
    torch.testing.assert_close(norm(x, z), expected, rtol=1e-5, atol=1e-5)


def test_installing_is_undone() -> None:
    names = ("HAVE_MAMBA_SSM", "ExtendedRMSNorm", "mamba_split_conv1d_scan_combined")
    before = [getattr(mamba_mixer, name) for name in names]
    undo = mamba_kernels.install()
    assert mamba_mixer.HAVE_MAMBA_SSM
    assert mamba_mixer.ExtendedRMSNorm is GatedRMSNorm
    undo()
    assert [getattr(mamba_mixer, name) for name in names] == before


on_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="mamba_ssm and causal_conv1d run on a GPU alone"
)

# Relative to a tensor's norm: mamba_ssm's products of fp32 are tf32.
ROUNDING = {torch.float32: 5e-3, torch.bfloat16: 2e-2}

# batch, length, groups, heads a group, p, n: few, because each new p and n is tuned for a minute.
SHAPES = [(2, 256, 2, 2, 64, 32), (1, 300, 1, 4, 32, 64), (3, 77, 4, 1, 64, 128)]


def with_gradients(
    function: Any, inputs: Sequence[Tensor], pull: Tensor | None = None
) -> list[Tensor]:
    """The output and, pulled back by the same cotangent, random if none is given, the gradients of
    all inputs."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    output = function(*leaves)
    if pull is None:
        pull = torch.randn(output.shape, generator=torch.Generator().manual_seed(9))
    return [output, *torch.autograd.grad(output, leaves, pull.to(output))]


@pytest.mark.parametrize("shape", [(1, 40, 1, 2, 8, 16)])
def test_in_bf16_it_is_near_the_exact_one(shape: tuple[int, ...]) -> None:
    _, _, groups, _, p, _ = shape
    inputs = as_a_layer_has_them(layer_inputs(*shape, seed=5), torch.bfloat16)
    scan = partial(mamba_split_conv1d_scan_combined, **sizes_of(groups, p))
    wide = [tensor.double() for tensor in inputs]
    pull = scan(*wide)
    for tensor, exact in zip(
        with_gradients(scan, inputs, pull), with_gradients(scan, wide, pull), strict=True
    ):
        assert (tensor.double() - exact).norm() < 1e-2 * exact.norm()


def as_a_layer_has_them(inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """As MambaMixer has them: the decay rates stay in fp32, whatever the weights are in."""
    return [t if place == 4 else t.to(dtype) for place, t in enumerate(inputs)]


def sizes_of(groups: int, p: int) -> dict[str, Any]:
    return {"chunk_size": 128, "headdim": p, "ngroups": groups, "norm_before_gate": False}


def assert_alike(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> None:
    for tensor, reference in zip(found, wanted, strict=True):
        assert tensor.dtype == reference.dtype
        assert torch.isfinite(reference).all()
        distance = (tensor.double() - reference.double()).norm()
        assert distance < ROUNDING[dtype] * reference.double().norm()


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("shape", SHAPES)
def test_they_agree_with_mamba_ssm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    combined = pytest.importorskip("mamba_ssm.ops.triton.ssd_combined")
    batch, length, groups, per_group, p, n = shape
    seed = torch.seed() % 2**16
    inputs = [t.cuda() for t in layer_inputs(batch, length, groups, per_group, p, n, seed=seed)]
    inputs = as_a_layer_has_them(inputs, dtype)
    ours = partial(mamba_split_conv1d_scan_combined, **sizes_of(groups, p))
    theirs = partial(combined.mamba_split_conv1d_scan_combined, **sizes_of(groups, p))
    # Pulled back by the output itself, terms of gradients add up. Of a random cotangent they cancel
    # where many make one number, a head's decay rate: in bf16 up to a tenth of it is rounding.
    pull = ours(*(tensor.double() for tensor in inputs)).detach()
    found, wanted = (with_gradients(scan, inputs, pull) for scan in (ours, theirs))
    assert_alike(found, wanted, dtype)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize(("length", "channels"), [(5, 8), (300, 264)])
def test_the_convolution_agrees_with_causal_conv1d(
    length: int, channels: int, dtype: torch.dtype
) -> None:
    library = pytest.importorskip("causal_conv1d")
    shapes = [(2, length, channels), (channels, 4), (channels,)]
    inputs = [torch.randn(shape, device="cuda", dtype=dtype) for shape in shapes]

    def theirs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = library.causal_conv1d_fn(x.transpose(1, 2), weight, bias, activation="silu")
        return y.transpose(1, 2)

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.silu(causal_conv1d(x, weight, bias)).to(dtype)

    assert_alike(with_gradients(ours, inputs), with_gradients(theirs, inputs), dtype)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("norm_before_gate", [True, False])
@pytest.mark.parametrize(("channels", "group_size"), [(256, 64), (192, None)])
def test_the_gated_norm_agrees_with_mamba_ssm(
    channels: int, group_size: int | None, norm_before_gate: bool, gated: bool, dtype: torch.dtype
) -> None:
    library = pytest.importorskip("mamba_ssm.ops.triton.layernorm_gated")
    arguments = {"group_size": group_size, "norm_before_gate": norm_before_gate}
    ours = GatedRMSNorm(channels, device=torch.device("cuda"), dtype=dtype, **arguments)
    theirs = library.RMSNorm(channels, device="cuda", dtype=dtype, **arguments)
    torch.nn.init.normal_(ours.weight)
    theirs.weight.data.copy_(ours.weight)
    inputs = [torch.randn(3, 50, channels, device="cuda", dtype=dtype) for _ in range(1 + gated)]
    found, wanted = (with_gradients(norm, inputs) for norm in (ours, theirs))
    for norm, into in ((ours, found), (theirs, wanted)):
        norm(*inputs).float().sum().backward()
        into.append(norm.weight.grad)
    assert_alike(found, wanted, dtype)
