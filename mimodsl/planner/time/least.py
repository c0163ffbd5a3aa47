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

    Products take `arithmetic` at the GPU's peak, and bytes take `memory` at its bandwidth. Calls
    are listed by purpose: calls `beside` run while products are computed, and the rank waits for
    calls in `waited`.
    """

    arithmetic: float = 0.0
    memory: float = 0.0
    beside: Mapping[Purpose, float] = field(factory=dict[Purpose, float])
    waited: Mapping[Purpose, float] = field(factory=dict[Purpose, float])

    @property
    def seconds(self) -> float:
        """The longest of the parts that run at once, and then the calls that are waited for."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """Its seconds by what takes them: the longest of the parts that run at once, and the calls
        that are waited for."""
        at_once = {ARITHMETIC: self.arithmetic}, {MEMORY: self.memory}, _named(self.beside)
        longest = max(at_once, key=lambda seconds: sum(seconds.values()))
        return _sum(longest, _named(self.waited))


def _named(calls: Mapping[Purpose, float]) -> dict[str, float]:
    return {purpose.value: seconds for purpose, seconds in calls.items()}


def _sum(*parts: Mapping[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return total


@frozen(kw_only=True)
class StageTime:
    """The least time of the ranks of one stage, on one span of ranks.

    `forward` and `backward` are for one microbatch. The optimizer's update and the gathering of
    weights come `before` the passes of a step, and the reduction of gradients comes `after` them.
    An output takes `output` seconds to the next stage, and its gradient takes `gradient` seconds
    back.
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
        microbatch = _sum(self.forward.parts, self.backward.parts)
        microbatches = {name: seconds * self.microbatches for name, seconds in microbatch.items()}
        return _sum(microbatches, self.before.parts, self.after.parts)

    @property
    def bound(self) -> str:
        """The part that takes the most of its time."""
        parts = self.parts
        return max(parts, key=lambda name: parts[name])


@frozen(kw_only=True)
class StepTime:
    """The least time of a step of a layout, on GPUs of one sort with `per_node` on each node.

    `model` counts the operations of the model in a step, which trains it on `samples` and `tokens`.
    `peak` is the FLOP/s of all ranks together.
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
        """The most tokens of the language model in a second."""
        return self.tokens / self.seconds

    @property
    def samples_per_second(self) -> float:
        """The most samples in a second."""
        return self.samples / self.seconds

    @property
    def utilization(self) -> float:
        """The highest model FLOPs utilization."""
        return self.model / (self.seconds * self.peak)

    def waits(self, stage: StageTime) -> float:
        """Seconds of the step in which the ranks of a stage do nothing."""
        return self.seconds - sum(stage.parts.values())
