"""The pieces of a mixture of experts: router, dispatch, routed and shared experts."""

from collections.abc import Iterator
from math import ceil

from attrs import evolve

from mimodsl.ir.blocks import Balance, Moe, RouterPrecision
from mimodsl.planner.layers import MoeLayer
from mimodsl.planner.traffic.call import Call, CallKind
from mimodsl.planner.work.linear import call, mlp
from mimodsl.planner.work.piece import Gradient, Overlap, Piece
from mimodsl.planner.work.site import Site

_COUNT = 8
"""Bytes of a count of tokens, an int64."""


def experts(layer: MoeLayer, site: Site) -> Iterator[Piece]:
    """A router, the routed experts' two linears, and those of the shared ones.

    Tokens are taken to be dealt evenly: what each rank gets is what it would of balanced experts.
    With `shared_overlap` they travel while shared experts compute.
    """
    moe = layer.moe
    yield Piece(
        name="router",
        gradient=Gradient.ROUTER,
        forward=2 * site.shard * layer.hidden * moe.experts,
        calls=_counts(moe, site),
        once=_balance(moe, site),
    )
    rows = routed_rows(moe, site.shard)
    travel = tuple(_travel(layer, site, rows))
    yield Piece(
        name="routed experts",
        forward=2 * rows * layer.hidden * moe.ffn * (layer.gates + 1),
        overlap=Overlap.ALL if moe.shared_overlap else Overlap.NONE,
        calls=travel,
        back=tuple(_back(layer, site, rows)),
    )
    if moe.shared_ffn is not None:
        yield from _shared(layer, site, moe.shared_ffn)


def routed_rows(moe: Moe, tokens: int) -> int:
    """Token copies that a rank sends to experts: one for each of the top k, less what does not fit
    an expert's capacity, which padding fills up (transformer/moe/moe_utils.py:239)."""
    if moe.capacity_factor is None:
        return tokens * moe.topk
    capacity = ceil(tokens * moe.topk / moe.experts * moe.capacity_factor) * moe.experts
    return capacity if moe.pad_to_capacity else min(tokens * moe.topk, capacity)


def _counts(moe: Moe, site: Site) -> tuple[Call, ...]:
    """Each rank of an expert group hears how many tokens go where (token_dispatcher.py:565); padded
    to capacity they are known."""
    line = site.line("etp", "ep")
    if moe.pad_to_capacity or line is None:
        return ()
    return call(line, CallKind.ALL_GATHER, moe.experts * line.members * _COUNT)


def _balance(moe: Moe, site: Site) -> tuple[Call, ...]:
    """The sums of tokens by expert that a balancing loss needs (transformer/moe/router.py:408)."""
    if moe.aux_loss == 0:
        return ()
    size = moe.experts * _COUNT
    match moe.balance:
        case Balance.AUX_LOSS:
            return call(site.line("tp", "cp"), CallKind.ALL_REDUCE, size)
        case Balance.SEQ_AUX_LOSS:
            return call(site.line("tp", "cp"), CallKind.ALL_REDUCE, size * site.sequences)
        case Balance.GLOBAL_AUX_LOSS:
            return call(site.line("tp", "dp", "cp"), CallKind.ALL_REDUCE, size)
        case _:
            return ()


def _travel(layer: MoeLayer, site: Site, rows: int) -> Iterator[Call]:
    """Tokens and their probabilities to the ranks of their experts, and the tokens back
    (token_dispatcher.py:698-857). Over etp, which cuts the experts, all see all tokens."""
    token, score = layer.hidden * site.element, _score_size(layer.moe, site)
    ep, etp, wide = site.line("ep"), site.line("etp"), rows * site.cut.etp
    yield from call(ep, CallKind.ALL_TO_ALL, rows * token)
    yield from call(ep, CallKind.ALL_TO_ALL, rows * score)
    yield from call(etp, CallKind.ALL_GATHER, wide * token)
    yield from call(etp, CallKind.ALL_GATHER, wide * score)
    # The sum over etp is in the precision of the scores (:823).
    yield from call(etp, CallKind.REDUCE_SCATTER, wide * layer.hidden * score)
    yield from call(ep, CallKind.ALL_TO_ALL, rows * token)


def _back(layer: MoeLayer, site: Site, rows: int) -> Iterator[Call]:
    """The same the other way: gathers become sums, and sums gathers."""
    swapped = {
        CallKind.ALL_GATHER: CallKind.REDUCE_SCATTER,
        CallKind.REDUCE_SCATTER: CallKind.ALL_GATHER,
    }
    for one in _travel(layer, site, rows):
        yield evolve(one, kind=swapped.get(one.kind, one.kind))


def _score_size(moe: Moe, site: Site) -> int:
    """Bytes of a routing probability, which has the router's precision."""
    match moe.router_dtype:
        case RouterPrecision.FP32:
            return 4
        case RouterPrecision.FP64:
            return 8
        case _:
            return site.element


def _shared(layer: MoeLayer, site: Site, ffn: int) -> Iterator[Piece]:
    """One MLP for every token. Overlapped with dispatch it gathers its input itself, once for both
    its gradients (transformer/moe/shared_experts.py:242)."""
    for piece in mlp("shared experts", site, (layer.hidden, layer.hidden), ffn, ffn * layer.gates):
        if layer.moe.shared_overlap:
            yield evolve(piece, for_weight=(), overlap=Overlap.ALL)
        else:
            yield piece
