"""Least times: of a pass, of a stage, and of a whole step."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from mimodsl.planner.calls import Purpose
from mimodsl.planner.ranks import Ranks
from mimodsl.planner.time.accelerator import Accelerator
from mimodsl.planner.timing import StageTimes

ARITHMETIC: Final = "arithmetic"
MEMORY: Final = "memory"


@frozen(kw_only=True)
class Least:
    """The least time of some work of a rank, in seconds.

    Products take `arithmetic` at the GPU's peak, and bytes `memory` at its bandwidth. Calls are by
    what they are for: those `beside` go on while products are computed, and those that the rank
    waits for, `waited`, while none are.
    """

    arithmetic: float = 0.0
    memory: float = 0.0
    beside: Mapping[Purpose, float] = field(factory=dict[Purpose, float])
    waited: Mapping[Purpose, float] = field(factory=dict[Purpose, float])

    @property
    def seconds(self) -> float:
        """The longest of what may go on at once, and then what may not."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """What the time is made of: of what goes on at once the longest, and calls waited for."""
        at_once = {ARITHMETIC: self.arithmetic}, {MEMORY: self.memory}, _named(self.beside)
        return _sum(max(at_once, key=lambda one: sum(one.values())), _named(self.waited))


def _named(calls: Mapping[Purpose, float]) -> dict[str, float]:
    return {purpose.value: seconds for purpose, seconds in calls.items()}


def _sum(*parts: Mapping[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in parts:
        for name, seconds in one.items():
            total[name] = total.get(name, 0.0) + seconds
    return total


@frozen(kw_only=True)
class StageTime:
    """The least time of the ranks of one stage, on one rank span.

    `forward` and `backward` are for one microbatch. `before` a step's passes are the optimizer's
    update and the gathering of weights, `after` them the reduction of gradients. An output takes
    `output` seconds to the next stage, and its gradient `gradient` to come back.
    """

    stage: int
    ranks: Ranks
    microbatches: int
    forward: Least
    backward: Least
    before: Least
    after: Least
    output: float
    gradient: float

    @property
    def times(self) -> StageTimes:
        return StageTimes(
            forward=self.forward.seconds,
            backward=self.backward.seconds,
            before=self.before.seconds,
            after=self.after.seconds,
            output=self.output,
            gradient=self.gradient,
        )

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of a step by what takes them, `arithmetic`, `memory` or calls for a purpose."""
        each = _sum(self.forward.parts, self.backward.parts)
        passes = {name: seconds * self.microbatches for name, seconds in each.items()}
        return _sum(passes, self.before.parts, self.after.parts)

    @property
    def bound(self) -> str:
        """What takes the most of its time."""
        parts = self.parts
        return max(parts, key=lambda name: parts[name])


@frozen(kw_only=True)
class StepTime:
    """The time that no step of a layout can beat, on GPUs of one sort with `per_node` on a node.

    `model` counts the operations of the model, `samples` and `tokens` what it is trained on in a
    step; `peak` is the FLOP/s of all ranks together.
    """

    accelerator: Accelerator
    per_node: int
    seconds: float
    model: int
    samples: int
    tokens: int
    peak: float
    stages: tuple[StageTime, ...]

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the language model, at most."""
        return self.tokens / self.seconds

    @property
    def samples_per_second(self) -> float:
        """Samples, at most."""
        return self.samples / self.seconds

    @property
    def utilization(self) -> float:
        """Model FLOPs utilization, at most."""
        return self.model / (self.seconds * self.peak)

    def waits(self, stage: StageTime) -> float:
        """Seconds of the step in which the ranks of a stage have nothing to do."""
        return self.seconds - sum(stage.parts.values())
