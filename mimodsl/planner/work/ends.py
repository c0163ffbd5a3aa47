"""The pieces of the ends of modules: embeddings, logits and their loss, projectors."""

from collections.abc import Iterator

from attrs import evolve

from mimodsl.ir.vision import Radio
from mimodsl.planner.layers import (
    CustomLayer,
    OutputLayer,
    PatchEmbedding,
    ProjectorLayer,
    TokenEmbedding,
)
from mimodsl.planner.traffic.call import CallKind
from mimodsl.planner.work.linear import call, column, mlp
from mimodsl.planner.work.piece import Gradient, Piece, Repeat
from mimodsl.planner.work.site import Site

_LOSS = 4
"""Bytes of a token's loss, which is in fp32 (mimodsl/megatron/cross_entropy.py)."""


def embedding(layer: TokenEmbedding, site: Site) -> Iterator[Piece]:
    """No product. Each tp rank looks up its share of the vocabulary, and the rows of text are
    summed over tp; the split of the merged sequence is undone on the way back (models/mimo/
    partition/utils.py:162)."""
    tp, row = site.line("tp"), layer.hidden * site.element
    whole = site.tokens * row
    yield Piece(
        name="embedding",
        repeat=Repeat.NEVER,
        calls=call(tp, CallKind.ALL_REDUCE, site.text * row),
        back=call(tp, CallKind.ALL_GATHER, whole) if site.split else (),
    )


def output(layer: OutputLayer, site: Site) -> Iterator[Piece]:
    """Logits over the split vocabulary, and of the loss two sums over tp: the largest logarithm of
    a rank's exponentials, then the exponentials together with the label's logit."""
    yield column("logits", site, layer.hidden, layer.vocabulary, repeat=Repeat.NEVER)
    tp, size = site.line("tp"), site.tokens * _LOSS
    calls = (*call(tp, CallKind.ALL_REDUCE, size), *call(tp, CallKind.ALL_REDUCE, 2 * size))
    yield Piece(name="loss", repeat=Repeat.NEVER, calls=calls)


def patches(layer: PatchEmbedding, site: Site) -> Iterator[Piece]:
    """RADIO's linear over flattened patches is cut over tp and gathered, and the input's gradient,
    which nobody needs, is not summed (models/vision/radio.py:190); a ViT's convolution is whole on
    every rank (models/vision/clip_vit_model.py:126)."""
    kind = layer.kind
    rows, width = site.sequences * kind.patches, 3 * kind.patch**2
    product = 2 * rows * width * kind.hidden
    if isinstance(kind, Radio):
        size = rows * kind.hidden * site.element
        yield Piece(
            name="patches",
            forward=product // site.cut.tp,
            repeat=Repeat.NEVER,
            calls=call(site.line("tp"), CallKind.ALL_GATHER, size),
        )
    else:
        yield Piece(
            name="patches",
            gradient=Gradient.CONVOLUTION,
            forward=product,
            repeat=Repeat.NEVER,
        )


def custom(layer: CustomLayer, site: Site) -> Iterator[Piece]:
    """What its kind says of a forward pass; an input's gradient is made where one is needed."""
    yield Piece(
        name=layer.title,
        gradient=Gradient.CONVOLUTION,
        forward=site.sequences * layer.claims.flops,
        repeat=Repeat.NEVER,
    )


def projector(layer: ProjectorLayer, site: Site) -> Iterator[Piece]:
    """An MLP, or one linear whose output is gathered (models/vision/multimodal_projector.py)."""
    if layer.ffn is not None:
        yield from mlp("projector", site, (layer.width, layer.hidden), layer.ffn, layer.products)
        return
    size = site.tokens * layer.hidden * site.element
    one = column("projector", site, layer.width, layer.hidden)
    yield evolve(one, calls=call(site.line("tp"), CallKind.ALL_GATHER, size))
