"""Linears that are cut over tp, with their calls (tensor_parallel/layers.py)."""

from collections.abc import Iterator

from mimodsl.planner.traffic.call import Call, CallKind, Line
from mimodsl.planner.work.piece import Overlap, Piece, Repeat
from mimodsl.planner.work.site import Site


def call(line: Line | None, kind: CallKind, size: int, times: int = 1) -> tuple[Call, ...]:
    """A call over a group; none where there is no group of several ranks, and nothing to say."""
    if line is None or size * times == 0:
        return ()
    return (Call(line=line, kind=kind, size=size, times=times),)


def column(
    name: str, site: Site, width: int, output: int, *, repeat: Repeat = Repeat.FULL
) -> Piece:
    """A linear whose output is cut. Its input is whole on every tp rank, or is gathered.

    With a split sequence the weight's gradient gathers the input a second time (:617), and the
    input's gradient is summed and split in one (:650). These two calls run beside the products of
    the two gradients.
    """
    line, size = site.line("tp"), site.tokens * width * site.element
    gather = call(line, CallKind.ALL_GATHER, size) if site.split else ()
    reduce = CallKind.REDUCE_SCATTER if site.split else CallKind.ALL_REDUCE
    return Piece(
        name=name,
        forward=2 * site.tokens * width * output // site.cut.tp,
        repeat=repeat,
        overlap=Overlap.BACKWARD,
        calls=gather,
        back=call(line, reduce, size),
        for_weight=gather,
    )


def row(name: str, site: Site, width: int, output: int) -> Piece:
    """A linear whose input is cut. Its output is a sum over tp, of which with a split sequence each
    rank keeps its tokens (:1471)."""
    line, size = site.line("tp"), site.tokens * output * site.element
    reduce = CallKind.REDUCE_SCATTER if site.split else CallKind.ALL_REDUCE
    return Piece(
        name=name,
        forward=2 * site.tokens * width * output // site.cut.tp,
        calls=call(line, reduce, size),
        back=call(line, CallKind.ALL_GATHER, size) if site.split else (),
    )


def mlp(name: str, site: Site, widths: tuple[int, int], ffn: int, products: int) -> Iterator[Piece]:
    """Two linears between `widths`: to `products` channels, of which a nonlinearity makes `ffn`."""
    width, output = widths
    yield column(name, site, width, products)
    yield row(name, site, ffn, output)
