"""Starts local worker processes together, watches them, and ends them together."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, cast

from attrs import define, evolve, field, frozen

from mimodsl.runtime.errors import STARTING, Failure, RankFailed, RanksHung, Waiting
from mimodsl.runtime.library_output import output_to, tail
from mimodsl.runtime.request import TIMEOUT
from mimodsl.runtime.signals import Ending, ending_signals, held
from mimodsl.runtime.stack_dumps import innermost_call, waiting_call
from mimodsl.runtime.worker import (
    Entered,
    Event,
    Files,
    Reported,
    Returned,
    Worker,
    serve,
    serve_sealed,
)

_TICK = 0.1  # seconds between two looks at the clock
_SETTLE = 0.25  # seconds in which other ranks may still show that they failed first
_STACK_TIME = 5.0  # seconds in which hung ranks write their stacks
_END_TIME = 5.0  # seconds in which killed ranks end


class Observer(Protocol):
    """Follows a run while it lasts, in the main thread of the process that started it.

    A subclass overrides the methods that it needs; the others do nothing.
    """

    def entered(self, rank: int, phase: str) -> None:
        """A rank begins a phase, such as `model` or `step 3`."""

    def reported(self, rank: int, value: Any) -> None:
        """A rank has a result: `Step`, `Evaluation`, `SavedCheckpoint` or `LoadedCheckpoint`."""

    def tick(self) -> None:
        """Time passes: the run calls this several times a second."""


class Silent(Observer):
    """An observer that shows nothing."""


@frozen(kw_only=True)
class Watch:
    """How a run is watched: it hangs if no rank reports anything for `timeout` seconds."""

    timeout: float = TIMEOUT
    observer: Observer = field(factory=Silent)
    verbose: bool = False
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def over(
        cls, *, timeout: float | None, observer: Observer | None, verbose: bool = False
    ) -> "Watch":
        """A watch in which `None` means the default."""
        return cls(
            timeout=TIMEOUT if timeout is None else timeout,
            observer=observer or Silent(),
            verbose=verbose,
        )


def run_workers[T](
    count: int,
    work: Callable[[Worker], T],
    *,
    start: Literal["fork", "spawn"] = "fork",
    watch: Watch | None = None,
    started: Callable[[], object] = lambda: None,
) -> tuple[T, ...]:
    """Run `work` in `count` processes and return their results, by rank.

    `fork` shares the imports of this process; `spawn` starts new interpreters, for which `work`
    must pickle. `started` is called when all processes run. All processes are gone when this
    function returns or raises. Raises `RankFailed` for the first rank that fails, `RanksHung` when
    all ranks wait, and `KeyboardInterrupt` or `Terminated` for the first signal; later signals
    change nothing.
    """
    with ending_signals() as signals, tempfile.TemporaryDirectory(prefix="mimodsl-") as folder:
        crew = _Crew(
            watch=watch or Watch(),
            files=Files(folder=Path(folder), echo=bool(watch and watch.verbose)),
        )
        try:
            with signals.raising():
                crew.start(count, work, start, signals)
                started()
                return crew.results()
        finally:
            crew.end()


@define(kw_only=True)
class _Crew:
    """The worker processes, with the last phase of each and the results so far."""

    watch: Watch
    files: Files
    processes: list[BaseProcess] = field(factory=list[BaseProcess])
    pipes: dict[Connection, int] = field(factory=dict[Connection, int])
    phases: dict[int, str] = field(factory=dict[int, str])
    values: dict[int, Any] = field(factory=dict[int, Any])
    failures: list[Failure] = field(factory=list[Failure])

    def start(
        self, count: int, work: Callable[[Worker], Any], method: str, signals: Ending
    ) -> None:
        context: Any = multiprocessing.get_context(method)
        sealed = method == "spawn"
        target, task = (serve_sealed, pickle.dumps(work)) if sealed else (serve, work)
        if sealed:
            self._start_tracker()
        for rank in range(count):
            receiver, sender = context.Pipe(duplex=False)
            worker = Worker(rank=rank, world=count, pipe=sender)
            process = context.Process(target=target, args=(worker, self.files, os.getpid(), task))
            self.phases[rank] = STARTING
            self.pipes[receiver] = rank
            with signals.waiting(), held():
                process.start()
                self.processes.append(process)
            sender.close()  # so that the pipe ends with the worker

    def _start_tracker(self) -> None:
        """Start Python's tracker of semaphores, with its output in a file.

        All spawned processes share it. It frees the semaphores of killed ranks, and would print a
        warning about them.
        """
        with output_to(self.files.folder / "tracker"):
            resource_tracker.ensure_running()

    def results(self) -> tuple[Any, ...]:
        """Wait for all workers. Raises at the first failure, or when no worker reports anything."""
        clock = self.watch.clock
        heard = clock()
        while self.pipes:
            if self._hear(_TICK):
                heard = clock()
            elif clock() - heard > self.watch.timeout:
                self._raise_hung()
            self._find_ended()
            if self.failures:
                self._raise_failed()
            self.watch.observer.tick()
        return tuple(self.values[rank] for rank in sorted(self.values))

    def end(self) -> None:
        """Kill all workers and the processes that they started, and wait until they are gone.

        The wait has a limit: the kernel may hold a process that waits for a device or file server.
        """
        for process in self.processes:
            _kill(process)
        deadline = time.monotonic() + _END_TIME
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is not None:
                process.close()
        for pipe in self.pipes:
            pipe.close()

    def _hear(self, timeout: float) -> bool:
        """Handle what workers report within `timeout` seconds. Returns whether any reports."""
        ready = connection.wait(list(self.pipes), timeout)
        for pipe in cast("list[Connection]", ready):
            try:
                event = cast(Event, pickle.loads(pipe.recv_bytes()))
            except (EOFError, OSError):
                self._closed(pipe)
            else:
                self._take(event)
        return bool(ready)

    def _take(self, event: Event) -> None:
        match event:
            case Entered(rank, phase):
                self.phases[rank] = phase
                self.watch.observer.entered(rank, phase)
            case Reported(rank, value):
                self.watch.observer.reported(rank, value)
            case Returned(rank, value):
                self.values[rank] = value
            case Failure():
                self.failures.append(event)

    def _find_ended(self) -> None:
        """Find workers that have ended, though processes that they started may hold their pipes."""
        gone = [pipe for pipe, rank in self.pipes.items() if not self.processes[rank].is_alive()]
        for pipe in gone:
            if not pipe.poll():
                self._closed(pipe)

    def _closed(self, pipe: Connection) -> None:
        rank = self.pipes.pop(pipe)
        pipe.close()
        if rank in self.values or any(failure.rank == rank for failure in self.failures):
            return
        process = self.processes[rank]
        process.join(_STACK_TIME)
        # A process that ends without a report is a cause, not a consequence: its time is 0, the
        # first.
        self.failures.append(
            Failure(rank=rank, phase="", error=_ending(process), where=self._where(rank))
        )

    def _raise_failed(self) -> NoReturn:
        """Raise for the earliest failure, after a moment in which other ranks may report one."""
        deadline = time.monotonic() + _SETTLE
        while self.pipes and time.monotonic() < deadline:
            self._hear(_TICK)
        first = min(self.failures, key=lambda failure: failure.time)
        log = tail(self.files.log(first.rank))
        raise RankFailed(evolve(first, phase=self.phases[first.rank], log=log))

    def _raise_hung(self) -> NoReturn:
        """Raise with the Python stacks of all workers that have not finished."""
        late = sorted(self.pipes.values())
        stopped = {rank for rank in late if _is_stopped(self.processes[rank])}
        for rank in late:
            pid = self.processes[rank].pid
            assert pid is not None
            os.kill(pid, signal.SIGABRT)  # faulthandler writes the stack, then the worker dies
            os.kill(pid, signal.SIGCONT)  # a stopped process would only do so later
        deadline = time.monotonic() + _STACK_TIME
        for rank in late:
            self.processes[rank].join(max(0.0, deadline - time.monotonic()))
        raise RanksHung(
            self.watch.timeout,
            [
                Waiting(
                    rank=rank,
                    phase=self.phases[rank],
                    where=self._where(rank),
                    call=waiting_call(self._stack(rank)),
                    stopped=rank in stopped,
                    stack=self._stack(rank),
                )
                for rank in late
            ],
            done=self.values,
        )

    def _stack(self, rank: int) -> str:
        path = self.files.stack(rank)
        return path.read_text(errors="replace") if path.exists() else ""

    def _where(self, rank: int) -> str:
        return innermost_call(self._stack(rank))


def _kill(process: BaseProcess) -> None:
    assert process.pid is not None
    # A worker leads its process group, but not from its first moment on. Once it is reaped, another
    # process may have its number.
    for kill in (os.killpg, os.kill) if process.is_alive() else (os.killpg,):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)


def _is_stopped(process: BaseProcess) -> bool:
    """Whether a signal or a debugger has stopped a process. Only Linux shows it."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    # proc(5): the state comes after the command, which may hold spaces and brackets.
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _ending(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None:
        return "the process has closed its connection to the launcher"
    if code < 0:
        return f"the process was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"the process exited with code {code} before its work was done"
