"""A Mamba-2 layer: a norm, one input projection, convolution, scan, gated norm and projection."""

from collections.abc import Iterator
from typing import ClassVar, Final, override

from attrs import frozen

from mimodsl.ir.kinds import Norm
from mimodsl.planner.layers.layer import Layer
from mimodsl.planner.layers.share import FP32, Saved, Share, dropped, norm_saved
from mimodsl.planner.layers.weight import Weight, column_linear, norm_weights, row_linear

CONVOLUTION: Final = 4
"""Taps of the convolution, MambaMixer's `d_conv`, which no config sets (ssm/mamba_mixer.py:168)."""

CHUNK: Final = 128
"""Tokens that the scan takes at a time, MambaMixer's `chunk_size` (ssm/mamba_mixer.py:182)."""


@frozen(kw_only=True)
class MambaLayer(Layer):
    """`heads` of `head_dim` channels with states of width `state`; `groups` share B and C (ssm/
    mamba_mixer.py:187)."""

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
        """Channels of x, B and C, which the convolution passes."""
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
        yield from column_linear("mixer.in_proj", self.hidden, self.projected, bias=False)
        yield from norm_weights("mixer.in_proj.layer_norm_", self.norm, self.hidden)
        yield Weight(name="mixer.norm.weight", shape=(self.inner,), split=0)
        yield from row_linear("mixer.out_proj", self.inner, self.hidden, bias=False)

    @override
    def saved(self, at: Share) -> Iterator[Saved]:
        """mamba_ssm's scan saves its fused input and its output before the gate, and computes the
        convolution and the states again (mamba_ssm 2.3.2, ops/triton/ssd_combined.py:883); the norm
        saves its input and statistics, and the projection its own (layernorm_gated.py)."""
        tp, el = at.cut.tp, at.element
        yield from norm_saved(at, self.norm, self.hidden)
        yield Saved(what="z, x, B, C and dt", size=at.tokens * self.projected // tp * el)
        inner = at.tokens * self.inner // tp * el
        yield Saved(what="scanned", size=inner)
        yield Saved(what="gated", size=inner)
        yield Saved(what="gated norm statistics", size=at.tokens * self.groups // tp * FP32)
        yield Saved(what="gated normed", size=inner, for_weights=True)
        yield from dropped(at, self.hidden)

    @override
    def working(self, at: Share) -> int:
        """Of the scan: the convolution again and its gradient, that of the fused input, and states
        and their gradients in fp32, one a chunk."""
        tp, el = at.cut.tp, at.element
        channels = (2 * self.convolved + self.projected + 2 * self.inner) // tp
        states = at.tokens // CHUNK * self.inner * self.state // tp
        return at.tokens * channels * el + 2 * states * FP32
