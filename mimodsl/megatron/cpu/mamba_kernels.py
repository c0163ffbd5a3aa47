"""Plain-torch stand-ins for the two mamba_ssm names that megatron-core's MambaMixer trains with.

Megatron does: where mamba_ssm cannot be imported, it leaves None and a mock in these names
(ssm/mamba_mixer.py, "from mamba_ssm.ops.triton.ssd_combined import"), and MambaMixer refuses to be
built. mamba_ssm's kernels take CUDA tensors alone.
Why it hurts: no hybrid model runs on a CPU.
Goes when: MambaMixer has a form in plain torch.

The stand-ins follow mamba_ssm 2.3.2 (`ops/triton/ssd_combined.py` and `layernorm_gated.py`) and the
chunked algorithm of "Transformers are SSMs" (Dao and Gu, 2024, listing 1), in fp32 inside and in
the input's dtype outside.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.ssm import mamba_mixer
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
from torch import Tensor, nn


def install() -> Callable[[], None]:
    """Give these kernels to MambaMixer; returns a function that restores the originals."""
    stand_ins = {
        "HAVE_MAMBA_SSM": True,
        "MAMBA_HAS_STATE_DTYPE": False,
        "RMSNormGated": GatedRMSNorm,
        "ExtendedRMSNorm": GatedRMSNorm,
        "mamba_split_conv1d_scan_combined": mamba_split_conv1d_scan_combined,
    }
    originals = {name: getattr(mamba_mixer, name) for name in stand_ins}
    _set_all(stand_ins)
    return lambda: _set_all(originals)


def _set_all(values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(mamba_mixer, name, value)


def mamba_split_conv1d_scan_combined(  # noqa: PLR0913, PLR0917 # mamba_ssm's signature
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int,
    *,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    activation: str = "silu",
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,  # noqa: ARG001 # what MambaMixer passes
    seq_idx: Tensor | None = None,
) -> Tensor:
    """Causal convolution, selective scan and gate of one Mamba-2 layer, from its fused projection.

    h heads of p channels, g groups of n states (each group serves h/g heads); d = h * p.

    Args:
        zxbcdt: `[b, l, 2d + 2gn + h]`, the gate z, the scan's x, B, C and its time steps.
        conv1d_weight: `[d + 2gn, width]`, over x, B and C.
        conv1d_bias: `[d + 2gn]`.
        dt_bias: `[h]`, added before the softplus that makes time steps positive.
        A: `[h]`, negative decay rates.
        D: `[h]`, or `[h, p]`, the skip from x to the output.
        chunk_size: tokens a chunk: memory grows with `l * chunk_size`, not with `l * l`.
        dt_limit: time steps are clamped to this range after the softplus.
        headdim: p, needed where D does not give it.
        norm_before_gate: without a norm of its own this form has nothing for it to order.
        seq_idx: packed sequences, which these kernels do not do.

    Returns:
        `[b, l, d]`, already gated: the norm that follows takes no gate.

    Raises:
        ValueError: on packed sequences or an activation other than SiLU.
    """
    if seq_idx is not None:
        raise ValueError("packed sequences need mamba_ssm: the plain-torch scan has no seq_idx")
    if activation not in ("silu", "swish"):
        raise ValueError(f"the convolution's activation is silu or swish, not {activation!r}")
    heads = D.shape[0]
    headdim = D.shape[1] if D.dim() == 2 else headdim
    assert headdim is not None, "headdim is needed where D is [h]"
    assert heads % ngroups == 0
    inner = heads * headdim
    state = (conv1d_weight.shape[0] - inner) // (2 * ngroups)

    z, xbc, dt = zxbcdt.split([inner, inner + 2 * ngroups * state, heads], dim=-1)
    xbc = F.silu(causal_conv1d(xbc, conv1d_weight, conv1d_bias)).to(zxbcdt.dtype).float()
    x, B, C = xbc.split([inner, ngroups * state, ngroups * state], dim=-1)
    x = x.unflatten(-1, (heads, headdim))
    dt = F.softplus(dt.float() + dt_bias.float()).clamp(*dt_limit)
    y = ssd_scan(
        x * dt.unsqueeze(-1),
        dt * A.float(),
        B.unflatten(-1, (ngroups, state)),
        C.unflatten(-1, (ngroups, state)),
        chunk_size,
    )
    y = y + x * D.float().view(heads, -1)
    return (y.flatten(-2) * F.silu(z.float())).to(zxbcdt.dtype)


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution of each channel with its own past.

    Args:
        x: `[b, l, c]`.
        weight: `[c, width]`, the last tap on the present token.
        bias: `[c]`.

    Returns:
        `[b, l, c]`, fp32.
    """
    length, width = x.shape[1], weight.shape[1]
    past = F.pad(x.float(), (0, 0, width - 1, 0))
    y = bias.float().expand_as(x)
    for tap in range(width):
        y = y + past[:, tap : tap + length] * weight[:, tap].float()
    return y


def ssd_scan(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, chunk_size: int) -> Tensor:
    """The recurrence `H_t = exp(log_decay_t) H_(t-1) + B_t x_t^T`, `y_t = C_t H_t`, chunk by chunk.

    Every exponent is a sum of non-positive decays, so nothing overflows however long the sequence.

    Args:
        x: `[b, l, h, p]`, fp32, already scaled by the time step.
        log_decay: `[b, l, h]`, fp32, not above 0.
        B: `[b, l, g, n]`, fp32, what a token writes into the state.
        C: `[b, l, g, n]`, fp32, what a token reads from it.
        chunk_size: tokens a chunk, q. The sequence need not divide by it.

    Returns:
        y, `[b, l, h, p]`, fp32.
    """
    length, heads, groups = x.shape[1], x.shape[2], B.shape[2]
    size = min(chunk_size, length)
    pad = -length % size  # a padded token writes nothing and decays nothing

    def chunked(t: Tensor) -> Tensor:
        return F.pad(t, (0, 0) * (t.dim() - 2) + (0, pad)).unflatten(1, (-1, size))

    # c chunks of q tokens; the heads of a group, r, stand beside it: h = g r.
    values = chunked(x).unflatten(3, (groups, heads // groups))  # [b, c, q, g, r, p]
    writes, reads = chunked(B), chunked(C)  # [b, c, q, g, n]
    decay = chunked(log_decay).unflatten(3, (groups, -1)).permute(0, 1, 3, 4, 2)
    since_start = decay.cumsum(-1)  # [b, c, g, r, q]

    within = _within_chunks(values, since_start, writes, reads)
    to_end = (since_start[..., -1:] - since_start).exp()
    written = torch.einsum("bcgrq,bcqgn,bcqgrp->bcgrpn", to_end, writes, values)
    entering = _entering_states(written, since_start[..., -1].exp())
    before = torch.einsum("bcgrq,bcqgn,bcgrpn->bcqgrp", since_start.exp(), reads, entering)
    return (within + before).flatten(3, 4).flatten(1, 2)[:, :length]


def _within_chunks(x: Tensor, since_start: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """What the tokens of a chunk read of each other, `[b, c, q, g, r, p]`."""
    size = x.shape[2]
    future = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    between = since_start.unsqueeze(-1) - since_start.unsqueeze(-2)  # [b, c, g, r, q, q]
    # Masked before the exponential: a future token's exponent is positive and may overflow.
    decay = between.masked_fill(future, float("-inf")).exp()
    scores = torch.einsum("bcign,bcjgn->bcgij", C, B).unsqueeze(3) * decay
    return torch.einsum("bcgrij,bcjgrp->bcigrp", scores, x)


def _entering_states(written: Tensor, chunk_decay: Tensor) -> Tensor:
    """The state each chunk starts from, `[b, c, g, r, p, n]`, given what each writes."""
    state = torch.zeros_like(written[:, 0])
    entering: list[Tensor] = []
    for new, decay in zip(written.unbind(1), chunk_decay.unbind(1), strict=True):
        entering.append(state)
        state = state * decay[..., None, None] + new
    return torch.stack(entering, dim=1)


class GatedRMSNorm(nn.Module):
    """RMS norm over groups of channels, with a SiLU gate before or after it.

    Args:
        hidden_size: channels, d.
        eps: added to the mean square.
        group_size: channels normalised together; all of them where None.
        norm_before_gate: `norm(x) * silu(z)` if True, `norm(x * silu(z))` if False.
    """

    tp_group: torch.distributed.ProcessGroup  # set by MambaMixer: the weight is sharded over it

    def __init__(  # noqa: PLR0913, PLR0917 # mamba_ssm's signature
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.group_size = group_size or hidden_size
        self.norm_before_gate = norm_before_gate
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """x and z: `[..., d]`. Returns `[..., d]` in x's dtype."""
        y = x.float()
        gate = None if z is None else F.silu(z.float())
        if gate is not None and not self.norm_before_gate:
            y = y * gate
        grouped = y.unflatten(-1, (-1, self.group_size))
        rms = (grouped.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        y = (grouped * rms).flatten(-2) * self.weight.float()
        if gate is not None and self.norm_before_gate:
            y = y * gate
        return y.to(x.dtype)

    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: tuple[Any, ...] = (),
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The weight, sharded over tp on its only axis, as ExtendedRMSNorm does."""
        assert metadata is not None, "MambaMixer passes its metadata on"
        return make_sharded_tensors_for_checkpoint(
            self.state_dict(prefix="", keep_vars=True),
            prefix,
            {"weight": 0},
            sharded_offsets,
            tp_group=self.tp_group,
            dp_cp_group=metadata["dp_cp_group"],
        )
