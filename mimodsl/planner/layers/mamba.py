"""A Mamba-2 layer: a norm, one input projection, convolution, scan, gated norm and projection."""

from collections.abc import Iterator
from typing import ClassVar, Final, override

from attrs import frozen

from mimodsl.ir.axes import CP
from mimodsl.ir.kinds import Norm
from mimodsl.planner.calls import Call, CallKind
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.linear import (
    call,
    column_product,
    column_weights,
    row_product,
    row_weights,
)
from mimodsl.planner.layers.operation import Gradient, Operation
from mimodsl.planner.layers.saved import SavedTensor, dropout_tensors, norm_tensors
from mimodsl.planner.layers.weight import Weight, norm_weights
from mimodsl.planner.share import Share
from mimodsl.planner.sizes import FP32

CONVOLUTION: Final = 4
"""Taps of the convolution, MambaMixer's `d_conv`, which no config sets (ssm/mamba_mixer.py,
"d_conv=4")."""

CHUNK: Final = 128
"""Tokens that the scan takes at a time, MambaMixer's `chunk_size` (ssm/mamba_mixer.py,
"chunk_size=128")."""


@frozen(kw_only=True)
class MambaLayer(Layer):
    """`heads` of `head_dim` channels with states of width `state`; `groups` share B and C
    (ssm/mamba_mixer.py, "dt_scale=1.0")."""

    title: ClassVar[str] = "mamba"

    hidden: int
    heads: int
    head_dim: int
    state: int
    groups: int
    norm: Norm

    @property
    def inner(self) -> int:
        """Channels of the gate z and of the scan's input x."""
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        """Channels of x, B and C, which pass the convolution."""
        return self.inner + 2 * self.groups * self.state

    @property
    def projected(self) -> int:
        """Channels of the input projection: z, x, B, C and the time steps."""
        return self.inner + self.convolved + self.heads

    @override
    def weights(self) -> Iterator[Weight]:
        yield Weight(name="mixer.conv1d_weight", shape=(self.convolved, 1, CONVOLUTION), split=0)
        yield Weight(name="mixer.conv1d_bias", shape=(self.convolved,), split=0)
        yield Weight(name="mixer.dt_bias", shape=(self.heads,), split=0)
        yield Weight(name="mixer.A_log", shape=(self.heads,), split=0, fp32=True)
        yield Weight(name="mixer.D", shape=(self.heads,), split=0, fp32=True)
        yield from column_weights("mixer.in_proj", self.hidden, self.projected, bias=False)
        yield from norm_weights("mixer.in_proj.layer_norm_", self.norm, self.hidden)
        yield Weight(name="mixer.norm.weight", shape=(self.inner,), split=0)
        yield from row_weights("mixer.out_proj", self.inner, self.hidden, bias=False)

    @override
    def saved(self, share: Share) -> Iterator[SavedTensor]:
        """What the scan, the gated norm and the projection save.

        mamba_ssm's scan saves its fused input and its output before the gate, and computes the
        convolution and the states again (mamba_ssm 2.3.2, ops/triton/ssd_combined.py). The norm
        saves its input and statistics, and the projection its input (layernorm_gated.py).
        """
        tp, element = share.sharding.tp, share.element
        yield from norm_tensors(share, self.norm, self.hidden)
        fused = share.tokens * self.projected // tp * element
        yield SavedTensor(name="z, x, B, C and dt", size=fused)
        inner = share.tokens * self.inner // tp * element
        yield SavedTensor(name="scanned", size=inner)
        yield SavedTensor(name="gated", size=inner)
        statistics = share.tokens * self.groups // tp * FP32
        yield SavedTensor(name="gated norm statistics", size=statistics)
        yield SavedTensor(name="gated normed", size=inner, for_weights=True)
        yield from dropout_tensors(share, self.hidden)

    @override
    def working(self, share: Share) -> int:
        """Tensors of the scan's backward pass: the convolution again and its gradient, the gradient
        of the fused input, and for each chunk states and their gradients in fp32."""
        tp = share.sharding.tp
        channels = (2 * self.convolved + self.projected + 2 * self.inner) // tp
        states = share.tokens // CHUNK * self.inner * self.state // tp
        return share.tokens * channels * share.element + 2 * states * FP32

    @override
    def operations(self, share: Share) -> Iterator[Operation]:
        """One product for all inputs, convolution and scan, and the product of the output."""
        yield column_product("mamba", share, self.hidden, self.projected)
        yield from self._scan(share)
        yield row_product("mamba", share, self.inner, self.hidden)

    def _scan(self, share: Share) -> Iterator[Operation]:
        """The chunked scan of Mamba-2 (Dao and Gu, 2024, listing 1; mamba_ssm ops/triton/ssd_*.py).

        For each chunk of q tokens: scores C Bᵀ, `[q, q]` for each group; their product with x for
        each head, half of which is masked; the state that the chunk writes; what its tokens read of
        earlier states. The kernels' backward pass computes scores and states again
        (ssd_combined.py, _mamba_chunk_scan_combined_bwd).
        """
        sharding = share.sharding
        chunk = min(CHUNK, share.length)
        tokens = share.sequences * -(-share.length // chunk) * chunk
        inner = self.inner // sharding.tp // sharding.cp
        groups = max(1, self.groups // sharding.tp // sharding.cp)
        scores = 2 * tokens * chunk * self.state * groups
        states = 2 * tokens * self.state * inner
        exchanges = self._exchanges(share)
        yield Operation(
            name="mamba scan",
            gradient=Gradient.PRODUCT,
            flops=scores + 2 * states,
            kernel_repeats=scores + states,
            forward_calls=exchanges,
            backward_calls=exchanges,
        )
        yield Operation(
            name="mamba scan",
            gradient=Gradient.PRODUCT,
            flops=tokens * chunk * inner,
            causal=True,
        )

    def _exchanges(self, share: Share) -> tuple[Call, ...]:
        """With cp each rank scans all tokens of some of its heads.

        Calls exchange z, x, B, C and time steps one by one, and the output back
        (ssm/mamba_context_parallel.py, "def pre_conv_ssm").
        """
        group, tp, cp = share.group(CP), share.sharding.tp, share.sharding.cp
        inner, heads = self.inner // tp, self.heads // tp
        shared = max(self.groups // tp, cp) * self.state
        widths = (inner, inner, shared, shared, heads, inner)
        column = share.tokens * share.element
        return tuple(
            each for width in widths for each in call(group, CallKind.ALL_TO_ALL, column * width)
        )
