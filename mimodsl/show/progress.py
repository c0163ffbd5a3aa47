"""Shows a run while it lasts: lines that stay, and on a terminal one that moves below them."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from mimodsl.runtime.checkpoint.manifest import LoadedCheckpoint, SavedCheckpoint
from mimodsl.runtime.devices import DeviceDecision
from mimodsl.runtime.errors import phases_of
from mimodsl.runtime.train import Evaluation, Step, is_step

_FRAME = 0.08  # seconds a drawing of the moving line stays
_HEAD = f"{'step':>5}  {'loss':>9}  {'grad norm':>9}  {'lr':>9}  {'tokens/s':>9}  {'time':>8}"


@define(kw_only=True)
class Progress:
    """An observer that writes to a console: a line a step and, off a terminal, a line a phase.

    On a terminal the moving line shows the phases. It is drawn in the launcher's own loop, without
    a thread, so that ranks can be forked while it shows.
    """

    console: Console
    _phases: dict[int, str] = field(factory=dict[int, str], init=False)
    _seen: set[str] = field(factory=set[str], init=False)
    _headed: bool = field(default=False, init=False)
    _live: Live | None = field(default=None, init=False)
    _drawn: float = field(default=0.0, init=False)

    def entered(self, rank: int, phase: str) -> None:
        self._phases[rank] = phase
        if self._live is None and phase not in self._seen and not is_step(phase):
            self.console.print(Text(phase, style="dim"))
        self._seen.add(phase)
        self.tick()

    def reported(self, rank: int, value: Any) -> None:  # noqa: ARG002 - Observer's
        if isinstance(value, SavedCheckpoint | LoadedCheckpoint | DeviceDecision):
            self.console.print(Text(_line(value), style="dim"), soft_wrap=True)
        if isinstance(value, Evaluation):
            self.console.print(Text(evaluation_line(value), style="bold"))
        if not isinstance(value, Step):
            return
        if not self._headed:
            self._headed = True
            self.console.print(Text(_HEAD, style="bold"))
        self.console.print(Text(step_line(value)))

    def tick(self) -> None:
        now = time.monotonic()
        if self._live is not None and now - self._drawn > _FRAME:
            self._drawn = now
            self._live.refresh()

    @contextmanager
    def shown(self) -> Generator[None]:
        """Draws the moving line for the length of a block, where the console is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        spinner = Spinner("dots")

        def line() -> Spinner:
            phases = phases_of(self._phases)
            spinner.update(text=Text(phases, style="dim", no_wrap=True, overflow="ellipsis"))
            return spinner

        live = Live(
            get_renderable=line,
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with live:
            self._live = live
            try:
                yield
            finally:
                self._live = None


def _line(value: SavedCheckpoint | LoadedCheckpoint | DeviceDecision) -> str:
    if isinstance(value, SavedCheckpoint):
        return saved_line(value)
    return loaded_line(value) if isinstance(value, LoadedCheckpoint) else str(value)


def saved_line(saved: SavedCheckpoint) -> str:
    """Where a checkpoint was saved, how large it is and how long it took."""
    return (
        f"saved step {saved.step} in {saved.folder} "
        f"({saved.size / 1e6:,.1f} MB, {saved.seconds:.1f} s)"
    )


def loaded_line(loaded: LoadedCheckpoint) -> str:
    """Where a run goes on from, and what it does not take from there."""
    line = f"loaded step {loaded.step} from {loaded.folder}"
    if loaded.left_out:
        line += f", left out: {', '.join(loaded.left_out)}"
    if loaded.anew:
        line += f", optimizer anew: {', '.join(loaded.anew)}"
    return line


def step_line(step: Step) -> str:
    """A step in the columns of the table of steps."""
    norm = "overflow" if step.grad_norm is None else f"{step.grad_norm:.4f}"
    return (
        f"{step.step:>5}  {step.loss:>9.4f}  {norm:>9}  {step.lr:>9.2e}"
        f"  {step.tokens_per_s:>9,.0f}  {step.seconds:>6.2f} s"
    )


def evaluation_line(evaluation: Evaluation) -> str:
    """An evaluation below the step that it comes after, its loss in the column of losses."""
    return (
        f"{'eval':>5}  {evaluation.loss:>9.4f}  accuracy {evaluation.accuracy:.1%}"
        f" of {evaluation.tokens:,} held-out tokens"
    )
