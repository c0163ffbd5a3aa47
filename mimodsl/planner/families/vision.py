"""Vision encoders in a plan: RADIO and a plain ViT."""

from collections.abc import Iterator
from typing import ClassVar, Final, override

from attrs import evolve

from mimodsl.ir.kinds import Recompute
from mimodsl.ir.types import Size
from mimodsl.ir.vision import VisionEncoder
from mimodsl.planner.families.family import (
    Block,
    Family,
    Neighbours,
    Room,
    SharedWidth,
    Split,
    Stage,
)
from mimodsl.planner.families.small import HEAD, MOST_LAYERS, WIDEST, few_heads, narrower
from mimodsl.planner.layers import AttentionLayer, MlpLayer, PatchEmbedding
from mimodsl.planner.module import ModulePlan, Widths

_MOST_PIXELS: Final = 128


class VisionFamily(Family[VisionEncoder]):
    """Vision transformers: patches, then layers of attention and an MLP."""

    kinds: ClassVar = (VisionEncoder,)

    @override
    def widths(self, kind: VisionEncoder, near: Neighbours) -> Widths:
        return Widths(
            hidden=kind.hidden,
            ffn=kind.ffn,
            heads=kind.heads,
            kv_groups=kind.heads,
            head_width=kind.head_width,
        )

    @override
    def blocks(self, kind: VisionEncoder, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        yield (PatchEmbedding(kind=kind),)
        attention = AttentionLayer(
            hidden=kind.hidden,
            heads=kind.heads,
            kv_groups=kind.heads,
            head_dim=kind.head_width,
            norm=kind.norm,
            bias=kind.bias,
            qkv_bias=kind.qkv_bias,
        )
        mlp = MlpLayer(
            hidden=kind.hidden,
            ffn=kind.ffn,
            activation=kind.activation,
            norm=kind.norm,
            bias=kind.bias,
        )
        for _ in stage.layers:
            yield attention, mlp

    @override
    def splits(self, kind: VisionEncoder, near: Neighbours) -> Iterator[Split]:
        yield Split(kind, "heads", "heads", kind.heads)
        yield Split(kind, "ffn", "ffn", kind.ffn, free=True)
        if kind.splits_patches:
            yield Split(kind, "hidden", "hidden", kind.hidden)

    @override
    def shared_width(self, kind: VisionEncoder) -> SharedWidth:
        return SharedWidth(node=kind, width=kind.hidden, heads=kind.heads)

    @override
    def stage(self, kind: VisionEncoder, index: int, count: int) -> Stage:
        layers = range(kind.layers)
        return Stage(index=index, count=count, layers=layers, symbols="*-" * len(layers))

    @override
    def length(self, kind: VisionEncoder, tokens: int) -> int:
        """All patches and class tokens, also those that the encoder folds or drops at its end."""
        return kind.patches + kind.class_tokens

    @override
    def recompute(self, kind: VisionEncoder) -> Recompute:
        return kind.recompute

    @override
    def fully_recomputed(self, kind: VisionEncoder) -> VisionEncoder:
        return evolve(kind, recompute=Recompute.FULL)

    @override
    def dropout(self, kind: VisionEncoder) -> float:
        return kind.dropout

    @override
    def small(self, kind: VisionEncoder, room: Room) -> VisionEncoder:
        """Two layers and few heads, for small images."""
        if _is_small(kind) or room.keeps_width:
            return kind
        tp = room.grid.size("tp")
        heads = few_heads(kind.heads, tp)
        hidden = heads * min(kind.head_width, HEAD)
        small = evolve(
            kind,
            layers=min(kind.layers, 2),
            hidden=hidden,
            heads=heads,
            ffn=narrower(kind.ffn, 2 * hidden, tp),
        )
        return small if room.keeps_tokens else small.showing(_small_image(kind))

    @override
    def comparable(self, kind: VisionEncoder) -> VisionEncoder:
        return evolve(kind, dropout=0.0, attention_dropout=0.0)


def _is_small(kind: VisionEncoder) -> bool:
    widest = max(kind.hidden, kind.ffn // 4)
    pixels = max(kind.image.height, kind.image.width)
    return widest <= WIDEST and kind.layers <= MOST_LAYERS and pixels <= _MOST_PIXELS


def _small_image(kind: VisionEncoder) -> Size:
    """Four patches on the shorter side, and up to eight on the longer one, as even as before."""
    sides = (kind.image.height, kind.image.width)
    height, width = (
        kind.patch * min(side // kind.patch, 8, 4 * max(1, round(side / min(sides))))
        for side in sides
    )
    return Size(height=height, width=width)
