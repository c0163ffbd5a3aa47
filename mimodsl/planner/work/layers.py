"""The pieces of any layer."""

from collections.abc import Iterator

from mimodsl.planner.layers import (
    AttentionLayer,
    CustomLayer,
    Layer,
    MambaLayer,
    MlpLayer,
    MoeLayer,
    OutputLayer,
    PatchEmbedding,
    ProjectorLayer,
    TokenEmbedding,
)
from mimodsl.planner.work.ends import custom, embedding, output, patches, projector
from mimodsl.planner.work.experts import experts
from mimodsl.planner.work.linear import mlp
from mimodsl.planner.work.mixers import attention, mamba
from mimodsl.planner.work.piece import Piece
from mimodsl.planner.work.site import Site


def pieces(layer: Layer, site: Site) -> Iterator[Piece]:  # noqa: PLR0911 - one for each kind
    """What a rank computes of one layer, in order. `TypeError` for a layer that nobody knows."""
    match layer:
        case TokenEmbedding():
            return embedding(layer, site)
        case PatchEmbedding():
            return patches(layer, site)
        case AttentionLayer():
            return attention(layer, site)
        case MambaLayer():
            return mamba(layer, site)
        case MlpLayer():
            return mlp("MLP", site, (layer.hidden, layer.hidden), layer.ffn, layer.products)
        case MoeLayer():
            return experts(layer, site)
        case ProjectorLayer():
            return projector(layer, site)
        case OutputLayer():
            return output(layer, site)
        case CustomLayer():
            return custom(layer, site)
        case _:
            raise TypeError(f"{type(layer).__name__} has no rule for its work")
