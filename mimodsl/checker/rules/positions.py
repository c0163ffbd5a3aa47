"""Rules about positions of tokens and patches: rotary, learned and stretched embeddings."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import LANGUAGE, RADIO, ROUTE, Held, Route
from mimodsl.diagnostics import Severity
from mimodsl.ir import Positions, Radio, TransformerLanguage


@rule(
    "MIMO506",
    "heads that rotary positions cannot rotate in pairs",
    scope=LANGUAGE,
    cost=Cost.LATE,
    mirrors=(
        'models/common/embeddings/rotary_pos_embedding.py, "rope_scaling: bool = False … int"',
        'models/common/embeddings/rope_utils.py, "t = (t * cos_) + (_rotate_half"',
    ),
    seen="With an odd head, torch complains in the first forward pass that two sizes do not match. "
    "With an odd part of a head, nothing: the positions are not the requested ones.",
)
def rotated_width(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """Rotary positions rotate numbers of a head in pairs, so `rope_fraction` of a head is even.

    megatron-core does not check this. Of an odd part it rotates one number more, with frequencies
    of another width, and fails if the head has no more numbers. Of a part below one it rotates
    none.

    Example:
        grid llm {
          dense = tp:1 * dp:2
        }

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 60
          vocabulary = 512
          attention  = { heads = 4 }
          positions  = rope
        }
    """
    kind, attention = language.kind, language.kind.used.attention
    if kind.positions is not Positions.ROPE or attention is None:
        return
    width = attention.width(kind.hidden)
    rotated = int(width * kind.rope_fraction)
    if rotated and rotated % 2 == 0:
        return
    whole = kind.rope_fraction == 1
    share = spec.label(kind, "rope_fraction", f"{kind.rope_fraction} of it")
    given = "head_dim" if attention.head_dim else "heads"
    yield Finding(
        message=f"{code(language.name)} would rotate {rotated} of the {width} numbers of a head, "
        "which do not form pairs",
        primary=spec.label(attention, given, f"{width} per head"),
        secondary=(spec.label(kind, "positions", "rotates pairs") if whole else share,),
        help=tuple(_even_help(kind, width, rotated)),
    )


def _even_help(kind: TransformerLanguage, width: int, rotated: int) -> list[str]:
    even = [size for size in (rotated - 1, rotated + 1) if size > 0 and size % 2 == 0]
    fits = [size for size in even or [2] if size <= width]
    if kind.rope_fraction == 1:
        wide = [code(f"head_dim = {size}") for size in even or [2]]
        return [f"{either(wide)} is even"]
    if not fits:
        return [f"{code('positions = none')}: a head of {width} has no pair"]
    shares = [code(f"rope_fraction = {_share(size, width)}") for size in fits]
    return [f"{either(shares)} rotates {either(map(str, fits))}"]


def _share(size: int, width: int) -> str:
    """A short fraction whose product with a width is `size` when rounded down."""
    return next(
        text
        for digits in range(1, 18)
        if int(width * float(text := f"{size / width + 0.5 * 10**-digits:.{digits}f}")) == size
    )


@rule(
    "MIMO557",
    "position embeddings smaller than a patch",
    scope=RADIO,
    cost=Cost.LATE,
    mirrors=(
        'models/vision/radio.py, "self.max_num_rows = max_img_h // patch_dim"',
        'models/vision/radio.py, "size=(max_dim, max_dim)"',
    ),
    seen="An error of `F.interpolate` in the first forward pass: sizes must be above 0.",
)
def no_positions(spec: Context, encoder: Held[Radio]) -> Findings:
    """RADIO's position embeddings cover at least one patch: `max_image` is not smaller than
    `patch`.

    Otherwise the encoder is built without position embeddings, and fails when it stretches them
    over an image.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module vision : radio_small {
          grid      = encoder
          max_image = 8x8
        }
    """
    kind = encoder.kind
    if not _covers(kind, kind.patch, kind.patch):
        yield Finding(
            message=f"position embeddings up to {kind.max_image} do not cover "
            f"a patch of {kind.patch}",
            primary=spec.label(kind, "max_image", "no whole patch"),
            secondary=(spec.label(kind, "patch", f"patches of {kind.patch}"),),
            help=(f"{code(f'max_image = {kind.image}')} covers every image",),
        )


def _covers(kind: Radio, height: int, width: int) -> bool:
    """Whether the position embeddings cover an image of this size."""
    return kind.max_image.height >= height and kind.max_image.width >= width


@rule(
    "MIMO556",
    "images larger than the position embeddings",
    scope=RADIO,
    cost=Cost.SILENT,
    mirrors=('models/vision/radio.py, "if self.interpolate_only_cpe"',),
    seen="Nothing. Neighbouring patches share positions that were learned for one.",
    severity=Severity.WARNING,
)
def beyond_positions(spec: Context, encoder: Held[Radio]) -> Findings:
    """RADIO has position embeddings up to `max_image`; it stretches them for larger images.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = tp:2 * dp:2
        }

        module vision : radio_small {
          grid  = encoder
          image = 256x256
        }
    """
    kind = encoder.kind
    if not _covers(kind, kind.patch, kind.patch):
        return
    if not _covers(kind, kind.image.height, kind.image.width):
        height = max(kind.image.height, kind.max_image.height)
        width = max(kind.image.width, kind.max_image.width)
        yield Finding(
            message=f"images of {kind.image} are larger than the position embeddings of "
            f"{code(encoder.name)}",
            primary=spec.label(kind, "image", "larger"),
            secondary=(spec.label(kind, "max_image", "embeddings up to here"),),
            notes=("position embeddings would be stretched to the image",),
            help=(f"{code(f'max_image = {height}x{width}')} covers it",),
        )


@rule(
    "MIMO613",
    "learned positions that images do not get",
    scope=ROUTE,
    cost=Cost.SILENT,
    mirrors=('models/mimo/model/base.py, "text_embeddings = embedding_layer"',),
    seen="Nothing. Answers about where something is in an image are worse than they could be.",
    severity=Severity.WARNING,
)
def unplaced_images(spec: Context, route: Route) -> Findings:
    """Learned positions are added where tokens are embedded, but images are embedded elsewhere.

    megatron-core embeds only the text, with positions, and then inserts the images: the language
    model cannot tell where an image token stands.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module projector : mlp_projector {}

        module language : nemotron_small {
          positions = learned
        }

        flow vision -> projector -> language {
          token = 511
        }
    """
    kind = route.language.kind
    if kind.learns_positions:
        yield Finding(
            message=f"tokens of {code(route.encoder.name)} do not get the learned positions of "
            f"{code(route.language.name)}",
            primary=spec.label(kind, "positions", "added to text only"),
            secondary=(spec.label(route.flow, "path[0]", "embedded elsewhere"),),
            help=(f"{code('positions = rope')} reaches every token",),
        )
