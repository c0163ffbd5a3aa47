"""The operations of a module in both passes of a microbatch, with their calls."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.kinds import Recompute
from mimodsl.planner.calls import Call
from mimodsl.planner.layers.operation import Gradient, Operation, Overlap, Repeat


@frozen(kw_only=True)
class Flops:
    """Floating-point operations.

    The model needs `forward` and `backward`. A backward pass computes `extra` beyond that: forward
    operations a second time, and gradients that nobody uses.
    """

    forward: int = 0
    backward: int = 0
    extra: int = 0

    @property
    def model(self) -> int:
        """The operations that MFU counts (Chowdhery et al., 2022, appendix B)."""
        return self.forward + self.backward

    @property
    def hardware(self) -> int:
        """All operations that are computed."""
        return self.model + self.extra

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            extra=self.extra + other.extra,
        )

    def times(self, number: int) -> "Flops":
        """The operations of as many repetitions."""
        return Flops(
            forward=self.forward * number,
            backward=self.backward * number,
            extra=self.extra * number,
        )


@frozen(kw_only=True)
class PassCalls:
    """The calls of one pass: the rank waits for `waited`, and `beside` run beside products."""

    waited: tuple[Call, ...] = ()
    beside: tuple[Call, ...] = ()


@frozen(kw_only=True)
class CountedOperation:
    """One operation in a microbatch: its flops, and its calls in both passes."""

    name: str
    flops: Flops
    forward: PassCalls
    backward: PassCalls
    causal: bool

    @property
    def calls(self) -> Iterator[Call]:
        for calls in (self.forward, self.backward):
            yield from calls.waited
            yield from calls.beside


def count_operations(
    operations: Iterable[Operation], *, trained: bool, reached: bool, recompute: Recompute
) -> Iterator[CountedOperation]:
    """The operations of one stage of a module, in order.

    `trained` says that the module's weights need gradients, and `reached` that its input does: then
    a backward pass goes through the whole module.
    """
    for operation in operations:
        backward = trained or reached
        again = backward and _is_repeated(operation, recompute)
        yield CountedOperation(
            name=operation.name,
            flops=_flops(operation, trained=trained, reached=reached, again=again),
            forward=_forward_calls(operation, records=backward and not again),
            backward=(
                _backward_calls(operation, trained=trained, again=again)
                if backward
                else PassCalls()
            ),
            causal=operation.causal,
        )
        reached = backward


def _is_repeated(operation: Operation, recompute: Recompute) -> bool:
    match recompute:
        case Recompute.NONE:
            return False
        case Recompute.SELECTIVE:
            return operation.repeat is Repeat.CORE
        case Recompute.FULL:
            return operation.repeat is not Repeat.NEVER


def _flops(operation: Operation, *, trained: bool, reached: bool, again: bool) -> Flops:
    forward = operation.flops
    if not (trained or reached):
        return Flops(forward=forward)
    if operation.gradient is Gradient.PRODUCT:
        needed = computed = 2
    else:
        needed = computed = trained + reached
        is_linear = operation.gradient is Gradient.LINEAR
        if (is_linear and trained) or operation.gradient is Gradient.ROUTER:
            computed = 2
    return Flops(
        forward=forward,
        backward=needed * forward,
        extra=(computed - needed) * forward + operation.kernel_repeats + again * forward,
    )


def _forward_calls(operation: Operation, *, records: bool) -> PassCalls:
    calls = (*operation.forward_calls, *(operation.recorded_calls if records else ()))
    if operation.overlap is Overlap.ALL:
        return PassCalls(beside=calls)
    return PassCalls(waited=calls)


def _backward_calls(operation: Operation, *, trained: bool, again: bool) -> PassCalls:
    repeated = (*operation.forward_calls, *operation.recorded_calls) if again else ()
    calls = (*operation.backward_calls, *(operation.weight_calls if trained else ()))
    match operation.overlap:
        case Overlap.NONE:
            return PassCalls(waited=(*repeated, *calls))
        case Overlap.BACKWARD:
            return PassCalls(waited=repeated, beside=calls)
        case Overlap.ALL:
            return PassCalls(beside=(*repeated, *calls))
