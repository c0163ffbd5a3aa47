"""Vision encoders in a plan: RADIO and a plain ViT, whose sequence is never split over tp."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final, NamedTuple, override

from attrs import evolve

from mimodsl.ir.axes import TP
from mimodsl.ir.kinds import Recompute
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.types import Size
from mimodsl.ir.vision import Radio, VisionEncoder, Vit
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
from mimodsl.planner.module import ModulePlan, Widths
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, Name, merged
from mimodsl.planner.program.values import Part

_BUILDER: Final = "mimodsl.builder.families.vision"

_MOST_PIXELS: Final = 128


class ImageSizes(NamedTuple):
    """The sizes of a vision encoder.

    `image` is the height and width of every image and `patch` the side of a square patch, in
    pixels. `class_tokens` stand before the patches; `drop_class_tokens` says that patches alone are
    given. With `pixel_shuffle`, 2 by 2 patches become one token of four times the width.
    """

    image: tuple[int, int]
    patch: int
    class_tokens: int
    drop_class_tokens: bool
    pixel_shuffle: bool


class VisionFamily[K: VisionEncoder](Family[K]):
    """Vision transformers: patches, then layers of attention and an MLP."""

    @override
    def widths(self, kind: K, near: Neighbours) -> Widths:
        return Widths(
            hidden=kind.hidden,
            ffn=kind.ffn,
            heads=kind.heads,
            kv_groups=kind.heads,
            head_width=kind.head_width,
        )

    @override
    def blocks(self, kind: K, plan: ModulePlan, stage: Stage) -> Iterator[Block]:
        from mimodsl.planner.layers import AttentionLayer, MlpLayer, PatchEmbedding

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
    def splits(self, kind: K, near: Neighbours) -> Iterator[Split]:
        yield Split(kind, "heads", "heads", kind.heads)
        yield Split(kind, "ffn", "ffn", kind.ffn, free=True)
        if kind.splits_patches:
            yield Split(kind, "hidden", "hidden", kind.hidden)

    @override
    def shared_width(self, kind: K) -> SharedWidth:
        return SharedWidth(node=kind, width=kind.hidden, heads=kind.heads)

    @override
    def stage(self, kind: K, index: int, count: int) -> Stage:
        layers = range(kind.layers)
        return Stage(index=index, count=count, layers=layers, symbols="*-" * len(layers))

    @override
    def length(self, kind: K, tokens: int) -> int:
        """All patches and class tokens, also those that the encoder folds or drops at its end."""
        return kind.patches + kind.class_tokens

    @override
    def recompute(self, kind: K) -> Recompute:
        return kind.recompute

    @override
    def fully_recomputed(self, kind: K) -> K:
        return evolve(kind, recompute=Recompute.FULL)

    @override
    def dropout(self, kind: K) -> float:
        return kind.dropout

    @override
    def small(self, kind: K, room: Room) -> K:
        """Two layers and few heads, for small images."""
        if _is_small(kind) or room.keeps_width:
            return kind
        tp = room.grid.size(TP)
        heads = few_heads(kind.heads, tp)
        hidden = heads * min(kind.head_width, HEAD)
        small = evolve(
            kind,
            layers=min(kind.layers, 2),
            hidden=hidden,
            heads=heads,
            ffn=narrower(kind.ffn, 2 * hidden, tp),
        )
        return small if room.keeps_tokens else small.with_image_size(_small_image(kind))

    @override
    def comparable(self, kind: K) -> K:
        return evolve(kind, dropout=0.0, attention_dropout=0.0)


class RadioFamily(VisionFamily[Radio]):
    """RADIO encoders."""

    kinds: ClassVar = (Radio,)

    @override
    def part(self, kind: Radio, plan: ModulePlan) -> Part:
        return _part(
            kind,
            plan,
            Name(f"{_BUILDER}:radio_spec"),
            max_image=_size(kind.max_image),
            embedder_bias=kind.embedder_bias,
            dynamic_resolution=kind.dynamic_resolution,
        )


class VitFamily(VisionFamily[Vit]):
    """Plain ViTs."""

    kinds: ClassVar = (Vit,)

    @override
    def part(self, kind: Vit, plan: ModulePlan) -> Part:
        return _part(kind, plan, Name(f"{_BUILDER}:vit_spec"))


def _part(kind: VisionEncoder, plan: ModulePlan, build: Name, **more: Any) -> Part:
    sizes = ImageSizes(
        image=_size(kind.image),
        patch=kind.patch,
        class_tokens=kind.class_tokens,
        drop_class_tokens=kind.drop_class_tokens,
        pixel_shuffle=kind.pixel_shuffle,
    )
    return common.part(plan, build, _config(kind, plan), {"sizes": sizes, **more})


def _config(kind: VisionEncoder, plan: ModulePlan) -> Fields:
    return merged(
        common.COMMON,
        common.precision(plan),
        common.kernels(plan),
        common.NO_EXPERTS,
        common.parallel(plan.declared),
        common.RECOMPUTE[plan.recompute],
        megatron_fields(kind),
        common.activation(kind.activation),
    )


def _size(size: Size) -> tuple[int, int]:
    """Height and width."""
    return size.height, size.width


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
