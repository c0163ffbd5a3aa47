"""Vision encoders: their TransformerConfig, whose sequence is never split over tp, and sizes."""

from typing import Any, Final, NamedTuple

from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.types import Size
from mimodsl.ir.vision import Radio, VisionEncoder, Vit
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, Name, merged
from mimodsl.planner.program.values import Part


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


_BUILDER: Final = "mimodsl.builder.families.vision"


def radio(spec: Spec, module: Module, kind: Radio) -> Part:
    """A RADIO encoder."""
    return _part(
        spec,
        module,
        kind,
        Name(f"{_BUILDER}:radio_spec"),
        max_image=_size(kind.max_image),
        embedder_bias=kind.embedder_bias,
        dynamic_resolution=kind.dynamic_resolution,
    )


def vit(spec: Spec, module: Module, kind: Vit) -> Part:
    """A plain ViT."""
    return _part(spec, module, kind, Name(f"{_BUILDER}:vit_spec"))


def _part(spec: Spec, module: Module, kind: VisionEncoder, build: Name, **more: Any) -> Part:
    return common.part(
        module,
        build,
        _config(spec, module, kind),
        {
            "sizes": ImageSizes(
                image=_size(kind.image),
                patch=kind.patch,
                class_tokens=kind.class_tokens,
                drop_class_tokens=kind.drop_class_tokens,
                pixel_shuffle=kind.pixel_shuffle,
            ),
            **more,
        },
    )


def _config(spec: Spec, module: Module, kind: VisionEncoder) -> Fields:
    return merged(
        common.COMMON,
        common.precision(spec),
        common.kernels(spec),
        common.NO_EXPERTS,
        common.parallel(spec.grid_of(module)),
        common.RECOMPUTE[kind.recompute],
        megatron_fields(kind),
        common.activation(kind.activation),
    )


def _size(size: Size) -> tuple[int, int]:
    """Height and width."""
    return size.height, size.width
