"""What the pieces of a module come to in a microbatch: operations and calls, forward and back."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.kinds import Recompute
from mimodsl.planner.traffic.call import Call
from mimodsl.planner.work.piece import Gradient, Overlap, Piece, Repeat


@frozen(kw_only=True)
class Flops:
    """Floating-point operations.

    `forward` and `backward` are what the model needs. `extra` is what a backward pass computes
    beyond that: forward operations run again, and gradients that nobody takes.
    """

    forward: int = 0
    backward: int = 0
    extra: int = 0

    @property
    def model(self) -> int:
        """What MFU counts (Chowdhery et al., 2022, appendix B)."""
        return self.forward + self.backward

    @property
    def hardware(self) -> int:
        """What is computed."""
        return self.model + self.extra

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            extra=self.extra + other.extra,
        )

    def times(self, number: int) -> "Flops":
        return Flops(
            forward=self.forward * number,
            backward=self.backward * number,
            extra=self.extra * number,
        )


@frozen(kw_only=True)
class PassCalls:
    """The calls of a pass: those that the rank waits for, and those that run beside products."""

    waited: tuple[Call, ...] = ()
    beside: tuple[Call, ...] = ()


@frozen(kw_only=True)
class Counted:
    """One piece in a microbatch: its operations, and its calls in both passes."""

    name: str
    flops: Flops
    forward: PassCalls
    backward: PassCalls
    causal: bool

    @property
    def calls(self) -> Iterator[Call]:
        for one in (self.forward, self.backward):
            yield from one.waited
            yield from one.beside


def count(
    pieces: Iterable[Piece], *, trains: bool, wanted: bool, recompute: Recompute
) -> Iterator[Counted]:
    """The pieces of one module's stage, in order.

    `trains` says whether its weights are trained, and `wanted` whether something before it is: then
    a backward pass goes through it all the way.
    """
    for piece in pieces:
        backward = trains or wanted
        again = backward and _repeats(piece, recompute)
        yield Counted(
            name=piece.name,
            flops=_flops(piece, trains=trains, wanted=wanted, again=again),
            forward=_forward(piece, records=backward and not again),
            backward=_backward(piece, trains=trains, again=again) if backward else PassCalls(),
            causal=piece.causal,
        )
        wanted = backward


def _repeats(piece: Piece, recompute: Recompute) -> bool:
    match recompute:
        case Recompute.NONE:
            return False
        case Recompute.SELECTIVE:
            return piece.repeat is Repeat.CORE
        case Recompute.FULL:
            return piece.repeat is not Repeat.NEVER


def _flops(piece: Piece, *, trains: bool, wanted: bool, again: bool) -> Flops:
    each = piece.forward
    if not (trains or wanted):
        return Flops(forward=each)
    if piece.gradient is Gradient.PRODUCT:
        needed = computed = 2
    else:
        needed = trains + wanted
        computed = needed
        if (piece.gradient is Gradient.LINEAR and trains) or piece.gradient is Gradient.ROUTER:
            computed = 2
    return Flops(
        forward=each,
        backward=needed * each,
        extra=(computed - needed) * each + piece.again + again * each,
    )


def _forward(piece: Piece, *, records: bool) -> PassCalls:
    calls = (*piece.calls, *(piece.once if records else ()))
    return PassCalls(beside=calls) if piece.overlap is Overlap.ALL else PassCalls(waited=calls)


def _backward(piece: Piece, *, trains: bool, again: bool) -> PassCalls:
    repeated = (*piece.calls, *piece.once) if again else ()
    calls = (*piece.back, *(piece.for_weight if trains else ()))
    match piece.overlap:
        case Overlap.NONE:
            return PassCalls(waited=(*repeated, *calls))
        case Overlap.BACKWARD:
            return PassCalls(waited=repeated, beside=calls)
        case Overlap.ALL:
            return PassCalls(beside=(*repeated, *calls))
