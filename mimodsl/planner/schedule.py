"""The order of microbatches on a pipeline stage: 1F1B without interleaving."""

from collections.abc import Iterator
from enum import Enum

from attrs import frozen


class PassKind(Enum):
    """Which way a pass goes through the model."""

    FORWARD = "F"
    BACKWARD = "B"


@frozen
class Pass:
    """One microbatch on one stage, forward or backward: `F0`, `B3`."""

    kind: PassKind
    microbatch: int

    def __str__(self) -> str:
        return f"{self.kind.value}{self.microbatch}"


@frozen(kw_only=True)
class StageSchedule:
    """What one pipeline stage does in a step of `microbatches`.

    As pipeline_parallel/schedules.py forward_backward_pipelining_without_interleaving: `warmup`
    forward passes, then forward and backward in turn, then the backward passes that are left. With
    one stage it is F0 B0 F1 B1 …, as in forward_backward_no_pipelining.
    """

    stage: int
    stages: int
    microbatches: int

    @property
    def warmup(self) -> int:
        """Forward passes before the first backward pass is awaited."""
        return min(self.stages - self.stage - 1, self.microbatches)

    @property
    def in_flight(self) -> int:
        """The most microbatches whose activations are held at once."""
        return min(self.warmup + 1, self.microbatches)

    @property
    def bubble(self) -> float:
        """Share of a step in which a stage waits, when all passes take equally long."""
        return (self.stages - 1) / (self.microbatches + self.stages - 1)

    @property
    def passes(self) -> int:
        """Passes in a step."""
        return 2 * self.microbatches

    def order(self, which: range | None = None) -> Iterator[Pass]:
        """The passes of the step, in order: all, or those at some places in it."""
        return map(self._pass, range(self.passes) if which is None else which)

    def _pass(self, place: int) -> Pass:
        """The pass at a place in the order."""
        if place < self.warmup:
            return Pass(PassKind.FORWARD, place)
        if place >= self.passes - self.warmup:
            return Pass(PassKind.BACKWARD, place - self.microbatches)
        number, backward = divmod(place - self.warmup, 2)
        if backward:
            return Pass(PassKind.BACKWARD, number)
        return Pass(PassKind.FORWARD, self.warmup + number)

    def timeline(self) -> Iterator[tuple[int, Pass]]:
        """Every pass after its slot, when each takes one slot and starts as soon as it can."""
        for step in self.order():
            if step.kind is PassKind.BACKWARD:
                yield 2 * self.stages - 1 - self.stage + 2 * step.microbatch, step
            elif step.microbatch <= self.warmup:
                yield self.stage + step.microbatch, step
            else:
                yield self.stage + 2 * step.microbatch, step

    def text(self, limit: int = 16) -> str:
        """`F0 F1 B0 F2 B1 …`, with the end kept where the middle is left out."""
        if self.passes <= limit:
            return " ".join(map(str, self.order()))
        head = " ".join(map(str, self.order(range(max(0, limit - 3)))))
        tail = " ".join(map(str, self.order(range(self.passes - 2, self.passes))))
        return f"{head} … {tail}"
