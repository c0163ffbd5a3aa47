"""Hears from megatron-core's schedules which pass of a step begins."""

from collections.abc import Callable

from attrs import frozen

_PASSES = {"forward-compute": "forward", "backward-compute": "backward"}


@frozen
class PassTimers:
    """In place of `megatron.core.timers.Timers`: measures nothing, and says what begins.

    A schedule starts a timer before each forward and backward pass of a microbatch
    (pipeline_parallel/schedules.py).
    """

    on_phase: Callable[[str], None]

    def __call__(self, name: str, log_level: int | None = None) -> "_Timer":  # noqa: ARG002 - Timers'
        return _Timer(self.on_phase, _PASSES.get(name))


@frozen
class _Timer:
    on_phase: Callable[[str], None]
    phase: str | None

    def start(self, barrier: bool = False) -> None:  # noqa: ARG002 - Timer's
        if self.phase is not None:
            self.on_phase(self.phase)

    def stop(self, barrier: bool = False) -> None: ...
