"""The pieces of layers that mix tokens: attention and Mamba."""

from collections.abc import Iterator

from mimodsl.planner.layers import AttentionLayer, MambaLayer
from mimodsl.planner.layers.mamba import CHUNK
from mimodsl.planner.traffic.call import Call, CallKind
from mimodsl.planner.work.linear import call, column, row
from mimodsl.planner.work.piece import Gradient, Overlap, Piece, Repeat
from mimodsl.planner.work.site import Site


def attention(layer: AttentionLayer, site: Site) -> Iterator[Piece]:
    """Queries, keys and values in one product; scores and what they read; the projection."""
    qkv = layer.query_width + 2 * layer.key_value_width
    yield column("attention", site, layer.hidden, qkv)
    yield _core(layer, site)
    yield row("attention", site, layer.query_width, layer.hidden)


def _core(layer: AttentionLayer, site: Site) -> Piece:
    """Two products of `[s, s]` by head. Flash attention computes the first again in its backward
    pass, having kept no scores (Dao et al., 2022, algorithm 4)."""
    cut = site.cut
    square = site.sequences * site.length**2 * layer.query_width // cut.cp // cut.tp
    product = square if site.causal else 2 * square
    return Piece(
        name="attention core",
        gradient=Gradient.PRODUCT,
        forward=2 * product,
        again=product,
        causal=site.causal,
        repeat=Repeat.CORE,
        overlap=Overlap.ALL,
        calls=_ring(layer, site, 1),
        back=_ring(layer, site, 2),
    )


def _ring(layer: AttentionLayer, site: Site, times: int) -> tuple[Call, ...]:
    """Keys and values go once around cp while attention reads those at hand, and on the way back
    their gradients with them (Transformer Engine's attn_forward_func_with_cp, p2p)."""
    size = 2 * site.tokens * max(layer.key_value_width // site.cut.tp, layer.head_dim)
    steps = times * (site.cut.cp - 1)
    line = site.line("cp")
    return (
        *call(line, CallKind.SEND, size * site.element, steps),
        *call(line, CallKind.RECEIVE, size * site.element, steps),
    )


def mamba(layer: MambaLayer, site: Site) -> Iterator[Piece]:
    """One product for all inputs, convolution and scan, and the product of the output."""
    yield column("mamba", site, layer.hidden, layer.projected)
    yield from _scan(layer, site)
    yield row("mamba", site, layer.inner, layer.hidden)


def _scan(layer: MambaLayer, site: Site) -> Iterator[Piece]:
    """The chunked scan of Mamba-2 (Dao and Gu, 2024, listing 1; mamba_ssm ops/triton/ssd_*.py).

    Of each chunk of q tokens: scores C Bᵀ, `[q, q]` by group; their product with x by head, of
    which half is masked; the state that the chunk writes; what its tokens read of earlier ones.
    The kernels' backward pass computes scores and states again (ssd_combined.py,
    _mamba_chunk_scan_combined_bwd).
    """
    cut = site.cut
    chunk = min(CHUNK, site.length)
    tokens = site.sequences * -(-site.length // chunk) * chunk
    inner = layer.inner // cut.tp // cut.cp
    groups = max(1, layer.groups // cut.tp // cut.cp)
    scores = 2 * tokens * chunk * layer.state * groups
    states = 2 * tokens * layer.state * inner
    moves = _heads_for_tokens(layer, site)
    yield Piece(
        name="mamba scan",
        gradient=Gradient.PRODUCT,
        forward=scores + 2 * states,
        again=scores + states,
        calls=moves,
        back=moves,
    )
    yield Piece(
        name="mamba scan",
        gradient=Gradient.PRODUCT,
        forward=tokens * chunk * inner,
        causal=True,
    )


def _heads_for_tokens(layer: MambaLayer, site: Site) -> tuple[Call, ...]:
    """Over cp each rank scans all tokens for some of its heads: z, x, B, C and time steps are
    exchanged one by one, and the output back (ssm/mamba_context_parallel.py:140)."""
    line, tp, cp = site.line("cp"), site.cut.tp, site.cut.cp
    inner, heads = layer.inner // tp, layer.heads // tp
    shared = max(layer.groups // tp, cp) * layer.state
    sizes = (inner, inner, shared, shared, heads, inner)
    rows = site.tokens * site.element
    return tuple(one for width in sizes for one in call(line, CallKind.ALL_TO_ALL, rows * width))
