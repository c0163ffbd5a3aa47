"""Rules about encoders and projectors: image sizes, and how ranks may split them."""

from mimodsl.checker.arithmetic import division, next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import AFFINE, CUSTOM_ENCODER, ENCODER, RADIO, VISION, Held
from mimodsl.diagnostics import Severity
from mimodsl.ir import AffineProjector, CustomEncoder, Encoder, Radio, Role, VisionEncoder
from mimodsl.ir.axes import DP, PP, TP


def _nearest_multiples(size: int, step: int) -> tuple[int, ...]:
    """The nearest positive multiples of a step, at most a size and at least the size."""
    below, above = size // step * step, next_multiple(size, step)
    return (below, above) if below else (above,)


def _image_help(kind: VisionEncoder, step: int) -> str:
    """The nearest images whose sides are multiples of a step."""
    heights, widths = (
        _nearest_multiples(side, step) for side in (kind.image.height, kind.image.width)
    )
    sizes = dict.fromkeys((f"{heights[0]}x{widths[0]}", f"{heights[-1]}x{widths[-1]}"))
    return either(code(f"image = {size}") for size in sizes)


@rule(
    "MIMO551",
    "images that do not divide into patches",
    scope=VISION,
    cost=Cost.RAISES,
    mirrors=(
        'models/vision/radio.py, "assert self.img_h % self.patch_dim == 0"',
        'models/vision/radio.py, "assert self.img_w % self.patch_dim == 0"',
        'models/vision/clip_vit_model.py, "assert self.img_h % self.patch_dim == 0"',
        'models/vision/clip_vit_model.py, "assert self.img_w % self.patch_dim == 0"',
    ),
    seen="A bare assertion fails while the encoder is built.",
)
def whole_patches(spec: Context, encoder: Held[VisionEncoder]) -> Findings:
    """The height and the width of images are multiples of the side of a patch.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module vision : radio_small {
          grid  = encoder
          image = 100x64
        }
    """
    kind = encoder.kind
    odd = [side for side in (kind.image.height, kind.image.width) if side % kind.patch]
    if odd:
        yield Finding(
            message=f"images of {kind.image} do not divide into patches of {kind.patch}",
            primary=spec.label(kind, "image", division(odd[0], kind.patch)),
            secondary=(spec.label(kind, "patch", f"patches of {kind.patch}"),),
            help=(f"{_image_help(kind, kind.patch * (1 + kind.pixel_shuffle))} divides evenly",),
        )


@rule(
    "MIMO552",
    "a pixel shuffle of an odd number of patches",
    scope=VISION,
    cost=Cost.LATE,
    seen="A shape error in the first forward pass.",
)
def even_patches(spec: Context, encoder: Held[VisionEncoder]) -> Findings:
    """Pixel shuffle folds squares of 2 by 2 patches, so each side has an even number of patches.

    Otherwise the last row or column has no partner, and the first forward pass fails.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module vision : radio_small {
          grid  = encoder
          image = 48x64
        }
    """
    kind = encoder.kind
    rows, columns = kind.image.height // kind.patch, kind.image.width // kind.patch
    whole = kind.image.height % kind.patch == 0 and kind.image.width % kind.patch == 0
    if kind.pixel_shuffle and whole and (rows % 2 or columns % 2):
        yield Finding(
            message=f"pixel shuffle cannot fold {rows} by {columns} patches",
            primary=spec.label(kind, "image", f"{rows} by {columns} patches of {kind.patch}"),
            secondary=(spec.label(kind, "pixel_shuffle", "folds 2 by 2"),),
            help=(
                f"{_image_help(kind, 2 * kind.patch)} is even",
                f"{code('pixel_shuffle = false')} keeps the patches",
            ),
        )


@rule(
    "MIMO553",
    "class tokens in a pixel shuffle",
    scope=VISION,
    cost=Cost.LATE,
    seen="An assertion, or a shape error, in the first forward pass.",
)
def shuffled_class_tokens(spec: Context, encoder: Held[VisionEncoder]) -> Findings:
    """Class tokens are dropped before a pixel shuffle: they have no place in the grid of patches.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module vision : radio_small {
          grid              = encoder
          drop_class_tokens = false
        }
    """
    kind = encoder.kind
    if kind.pixel_shuffle and kind.class_tokens and not kind.drop_class_tokens:
        yield Finding(
            message=f"{code(encoder.name)} keeps class tokens, which pixel shuffle cannot fold",
            primary=spec.label(kind, "drop_class_tokens", f"keeps {kind.class_tokens}"),
            secondary=(spec.label(kind, "pixel_shuffle", "folds 2 by 2 patches"),),
            help=(f"write {code('drop_class_tokens = true')} or {code('pixel_shuffle = false')}",),
        )


@rule(
    "MIMO554",
    "an encoder with several pipeline stages",
    scope=ENCODER,
    cost=Cost.SILENT,
    mirrors=(
        'models/mimo/submodules/base.py, "if hidden_states is not None"',
        'models/vision/radio.py, "pre_process=True"',
    ),
    seen="Nothing. The loss falls as if the encoder had only the layers of its first stage.",
)
def encoder_pipeline(spec: Context, encoder: Held[Encoder]) -> Findings:
    """An encoder has one pipeline stage: pp is 1.

    In megatron-core, a later stage of an encoder passes its input straight to the projector. The
    layers of every stage except the first would not run, and no error would say so.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:1 * pp:2
        }

        module vision : radio_small {
          grid = encoder
        }
    """
    pp, tp, dp = (encoder.size(axis) for axis in (PP, TP, DP))
    if pp > 1:
        yield Finding(
            message=f"the encoder {code(encoder.name)} has {pp} pipeline stages",
            primary=spec.axis_label(encoder.grid, PP, f"{pp} stages"),
            secondary=(spec.label(encoder.module, "name", "an encoder"),),
            notes=("megatron-core would skip the layers of every stage except the first",),
            help=(f"use {code('pp:1')} with {code(f'dp:{dp * pp}')} or {code(f'tp:{tp * pp}')}",),
        )


@rule(
    "MIMO555",
    "images of different sizes",
    scope=RADIO,
    cost=Cost.SILENT,
    mirrors=(
        'models/vision/radio.py, "assert num_frames is not None"',
        'models/vision/radio.py, "seq_length = input_size[0] // self"',
        'models/vision/radio.py, "assert sum(seq_lens) == x.shape"',
    ),
    seen="Without image sizes, the first forward pass fails. With them, there is no error if a "
    "width is not a multiple of a patch: images are not cut where their tokens begin.",
)
def dynamic_resolution(spec: Context, encoder: Held[Radio]) -> Findings:
    """`dynamic_resolution` is not built yet: it needs image sizes and packed sequences.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module vision : radio_small {
          grid               = encoder
          dynamic_resolution = true
        }
    """
    kind = encoder.kind
    if kind.dynamic_resolution:
        yield Finding(
            message=f"{code(encoder.name)} takes images of different sizes, which is not built yet",
            primary=spec.label(kind, "dynamic_resolution", "not built yet"),
            secondary=(spec.label(kind, "image", f"one size: {kind.image}"),),
            help=(
                f"write {code('dynamic_resolution = false')}, so that every image is {kind.image}",
            ),
        )


@rule(
    "MIMO558",
    "an affine projector with a bias and tensor parallelism",
    scope=AFFINE,
    cost=Cost.LATE,
    mirrors=(
        'models/vision/multimodal_projector.py, "encoder_output = encoder_output"',
        'tensor_parallel/layers.py, "if gather_output"',
    ),
    seen="A shape error in the first forward pass, where the projector adds `encoder_output_bias`.",
)
def affine_bias(spec: Context, projector: Held[AffineProjector]) -> Findings:
    """An affine projector has a bias only where tp is 1.

    megatron-core gathers its output over tp, but not its bias: the first forward pass cannot add a
    part of the bias to the whole output.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        grid llm {
          dense  = tp:2 * dp:2
          expert = ep:2 * edp:2 * pp
        }

        place encoder | llm

        module vision : radio_small {
          grid = encoder
        }

        module projector : affine_projector {
          grid = encoder
          bias = true
        }

        module language : nemotron_small {
          grid = llm
        }

        flow vision -> projector -> language {
          token = 511
        }
    """
    kind, tp = projector.kind, projector.size(TP)
    if kind.bias and tp > 1:
        yield Finding(
            message=f"the bias of {code(projector.name)} is split over {code(f'tp:{tp}')}, "
            "but the output that it is added to is not",
            primary=spec.label(kind, "bias", "a part on every tp rank"),
            secondary=(spec.axis_label(projector.grid, TP, f"{tp} ranks"),),
            help=(f"write {code('bias = false')}, or use {code('mlp_projector')} instead",),
        )


@rule(
    "MIMO559",
    "an encoder of another package on tensor-parallel ranks",
    scope=CUSTOM_ENCODER,
    cost=Cost.WASTE,
    severity=Severity.WARNING,
)
def custom_encoder_is_whole(spec: Context, encoder: Held[CustomEncoder]) -> Findings:
    """An encoder of another package is whole on every rank: only dp shares its work.

    mimodsl knows the input and the output of such an encoder, but not how to split its weights.
    Ranks along tp hold the same weights and compute the same: the model trains correctly, but these
    ranks save nothing.
    """
    tp, dp = encoder.size(TP), encoder.size(DP)
    if tp > 1:
        modules = spec.draft.modules
        grids = {module.grid for module in modules if module.role is Role.LANGUAGE}
        where = "on a grid of its own" if encoder.grid.name in grids else "alone"
        yield Finding(
            message=f"{code(encoder.name)} is a {code(encoder.kind.keyword)}, which "
            f"{code(f'tp:{tp}')} does not split",
            primary=spec.axis_label(encoder.grid, TP, f"{tp} ranks that compute the same"),
            secondary=(spec.label(encoder.module, "name", "whole on every rank"),),
            help=(
                f"{code(f'dp:{tp * dp}')} {where} spreads samples over the same number of ranks",
            ),
        )
