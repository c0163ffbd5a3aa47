"""Laptop widths for a module that keep how its parts divide over ranks, and every kind of layer."""

from itertools import count
from math import gcd, lcm
from typing import Final

import attrs

from mimodsl.ir.blocks import Attention, Mamba, Moe
from mimodsl.ir.decoder import Gpt
from mimodsl.ir.grid import Grid
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.language import LanguageModel
from mimodsl.ir.projector import MlpProjector, Projector
from mimodsl.ir.types import Size
from mimodsl.ir.vision import Radio, VisionEncoder

HEAD: Final = 16
HIDDEN: Final = 64
VOCABULARY: Final = 256

_WIDEST: Final = 256
_LAYERS: Final = 8
_EXPERTS: Final = 32
_WORDS: Final = 4096
_PIXELS: Final = 128


def small_encoder(kind: VisionEncoder, grid: Grid) -> VisionEncoder:
    """An encoder of two layers and few heads, for small images; one that is small stays."""
    if _is_small_encoder(kind):
        return kind
    heads = _few(kind.heads, grid.size("tp"))
    hidden = heads * min(kind.head_width, HEAD)
    image = _small_image(kind)
    small = attrs.evolve(
        kind,
        layers=min(kind.layers, 2),
        hidden=hidden,
        heads=heads,
        ffn=_width(kind.ffn, 2 * hidden, grid.size("tp")),
        image=image,
    )
    if isinstance(small, Radio):
        largest = Size(height=2 * image.height, width=2 * image.width)
        return attrs.evolve(small, max_image=largest)
    return small


def small_projector(kind: Projector, grid: Grid) -> Projector:
    """A projector as wide inside as its neighbours' small widths suggest."""
    if not isinstance(kind, MlpProjector) or kind.ffn is None or kind.ffn <= 4 * _WIDEST:
        return kind
    return attrs.evolve(kind, ffn=_width(kind.ffn, 2 * HIDDEN, grid.size("tp")))


def small_language(kind: LanguageModel, grid: Grid, hidden: int | None) -> LanguageModel:
    """A language model of few layers in each stage, every kind of its layers among them.

    `hidden` is the width that encoders without a projector emit.
    """
    assert isinstance(kind, Gpt | Hybrid)
    if hidden is None and _is_small_language(kind):
        return kind
    attention = kind.attention and _small_attention(kind.attention, grid)
    unit = grid.size("tp")
    if attention is not None and attention.head_dim is None:
        unit = lcm(unit, attention.heads * 2)
    width = hidden or min(kind.hidden, unit * -(-HIDDEN // unit))
    tp = grid.size("tp")
    small = attrs.evolve(
        kind,
        hidden=width,
        vocabulary=_width(kind.vocabulary, VOCABULARY, tp),
        ffn=kind.ffn and _width(kind.ffn, 2 * width, tp),
        moe=kind.moe and _small_moe(kind.moe, grid),
    )
    if isinstance(small, Hybrid):
        stages = small.stages(grid.size("pp"))
        return attrs.evolve(
            small,
            attention=attention,
            mamba=small.mamba and _small_mamba(small.mamba, kind.hidden, grid),
            pattern="|".join(map(shortest_with_every_kind, stages)),
        )
    assert attention is not None
    return attrs.evolve(small, attention=attention, layers=_few_layers(small, grid.size("pp")))


def shortest_with_every_kind(pattern: str) -> str:
    """The first of the shortest runs of layers that has every symbol of the pattern.

    Neighbours in it are neighbours in the pattern.
    """
    kinds = set(pattern)
    for length in range(len(kinds), len(pattern)):
        for start in range(len(pattern) - length + 1):
            run = pattern[start : start + length]
            if set(run) == kinds:
                return run
    return pattern


def _is_small_encoder(kind: VisionEncoder) -> bool:
    widest = max(kind.hidden, kind.ffn // 4)
    pixels = max(kind.image.height, kind.image.width)
    return widest <= _WIDEST and kind.layers <= _LAYERS and pixels <= _PIXELS


def _is_small_language(kind: Gpt | Hybrid) -> bool:
    layers = kind.layers if isinstance(kind, Gpt) else len(kind.layers)
    widest = max(kind.hidden, kind.mlp_width // 4)
    experts = kind.moe.experts if kind.moe else 0
    return (
        widest <= _WIDEST
        and layers <= _LAYERS
        and kind.vocabulary <= _WORDS
        and experts <= _EXPERTS
    )


def _small_image(kind: VisionEncoder) -> Size:
    """Four patches on the shorter side, and up to eight on the longer one, as even as before."""
    sides = (kind.image.height, kind.image.width)
    height, width = (
        kind.patch * min(side // kind.patch, 8, 4 * max(1, round(side / min(sides))))
        for side in sides
    )
    return Size(height=height, width=width)


def _small_attention(attention: Attention, grid: Grid) -> Attention:
    """As many query heads a group as before, up to two, and groups as they divide over tp."""
    tp = grid.size("tp")
    groups = attention.key_value_groups
    few = _few(groups, tp) if groups % tp == 0 else groups
    heads = lcm(few * min(attention.heads // groups, 2), tp)
    return attrs.evolve(
        attention,
        heads=heads,
        kv_groups=None if attention.kv_groups is None else few,
        head_dim=attention.head_dim and min(attention.head_dim, HEAD),
    )


def _small_mamba(mamba: Mamba, hidden: int, grid: Grid) -> Mamba:
    """Groups and heads that divide over tp and cp as before (ssm/mamba_context_parallel.py:106)."""
    tp, cp = grid.size("tp"), grid.size("cp")
    heads = mamba.head_count(hidden)
    a_rank = mamba.groups // tp
    groups = tp * (cp if a_rank % cp == 0 else a_rank)
    most = heads // mamba.groups
    ratios = (ratio for ratio in range(min(2, most), most + 1) if groups // tp * ratio % cp == 0)
    return attrs.evolve(
        mamba,
        heads=groups * next(ratios, most),
        head_dim=min(mamba.head_dim, HEAD),
        state=min(mamba.state, HEAD),
        groups=groups,
    )


def _small_moe(moe: Moe, grid: Grid) -> Moe:
    """Two experts or more on every ep rank, and a top-k that leaves some out."""
    ep, etp = grid.size("ep"), grid.size("etp")
    topk = moe.topk if moe.groups else min(moe.topk, 2)
    unit = lcm(ep, moe.groups or 1)
    fits = (number for number in count(unit, unit) if number > topk and number >= 2 * ep)
    return attrs.evolve(
        moe,
        experts=min(moe.experts, next(fits)),
        topk=topk,
        ffn=_width(moe.ffn, HIDDEN // 2, etp),
        shared_ffn=moe.shared_ffn and _width(moe.shared_ffn, HIDDEN, grid.size("tp")),
    )


def _few_layers(kind: Gpt, pp: int) -> int:
    """Layers of a stage that hold a dense one and one with experts, where the model has both."""
    enough = kind.moe_every if kind.moe else 1
    return pp * min(kind.layers // pp, max(2, enough))


def _few(heads: int, tp: int) -> int:
    """One or two heads on every tp rank, as the number of all divides."""
    a_rank = heads // tp
    return tp * gcd(a_rank, 2)


def _width(old: int, new: int, unit: int) -> int:
    """The wanted width, rounded up to a multiple; never wider than before."""
    return min(old, unit * -(-new // unit))
