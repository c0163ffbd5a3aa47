"""Local worker processes: started together, watched together, and ended together."""

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
_LAST_WORDS = 5.0  # seconds all hung ranks have to write their stacks
_BURIAL = 5.0  # seconds all killed ranks have to be gone


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
    """How a run is watched. It hangs once no rank has reported anything for `timeout` seconds."""

    timeout: float = TIMEOUT
    observer: Observer = field(factory=Silent)
    verbose: bool = False
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def over(
        cls, *, timeout: float | None, observer: Observer | None, verbose: bool = False
    ) -> "Watch":
        """A watch with the defaults for what is `None`."""
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
    """Runs `work` in `count` processes and returns what each gave, by rank.

    `fork` shares what this process has imported; `spawn` starts new interpreters, for which `work`
    must pickle. `started` is called once every process runs. Nothing is left over, however it ends.
    Raises `RankFailed` for the first rank that fails, `RanksHung` when no rank moves any more, and
    `KeyboardInterrupt` or `Terminated` for the first signal: those after it change nothing.
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
    """The running processes, what each was last heard to do, and what each gave."""

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
            ours, theirs = context.Pipe(duplex=False)
            worker = Worker(rank=rank, world=count, pipe=theirs)
            process = context.Process(target=target, args=(worker, self.files, os.getpid(), task))
            self.phases[rank] = STARTING
            self.pipes[ours] = rank
            with signals.waiting(), held():
                process.start()
                self.processes.append(process)
            theirs.close()  # so that the pipe ends with the worker

    def _start_tracker(self) -> None:
        """Starts Python's tracker of semaphores, which all spawned processes share, in silence.

        It tidies up what ranks leave when they are ended, and would complain of that at exit.
        """
        with output_to(self.files.folder / "tracker"):
            resource_tracker.ensure_running()

    def results(self) -> tuple[Any, ...]:
        """Waits for every worker; raises at the first failure, or when nothing moves any more."""
        clock = self.watch.clock
        heard = clock()
        while self.pipes:
            if self._hear(_TICK):
                heard = clock()
            elif clock() - heard > self.watch.timeout:
                self._give_up()
            self._find_ended()
            if self.failures:
                self._fail()
            self.watch.observer.tick()
        return tuple(self.values[rank] for rank in sorted(self.values))

    def end(self) -> None:
        """Kills every worker with all it started, and waits until each is gone.

        Not for ever, though: the kernel may hold one that waits for a device or for a file server.
        """
        for process in self.processes:
            _kill(process)
        deadline = time.monotonic() + _BURIAL
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is not None:
                process.close()
        for pipe in self.pipes:
            pipe.close()

    def _hear(self, timeout: float) -> bool:
        """Takes in what workers have said within `timeout` seconds; whether any has."""
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
        """Takes note of workers that are gone, though what they started may hold their pipes."""
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
        process.join(_LAST_WORDS)
        # A process that ended without a word is a cause, never a consequence: it counts as first.
        self.failures.append(
            Failure(rank=rank, phase="", error=_ending(process), where=self._where(rank), at=0.0)
        )

    def _fail(self) -> NoReturn:
        """Raises for the failure that came first, after a moment in which others may show."""
        deadline = time.monotonic() + _SETTLE
        while self.pipes and time.monotonic() < deadline:
            self._hear(_TICK)
        first = min(self.failures, key=lambda failure: failure.at)
        log = tail(self.files.log(first.rank))
        raise RankFailed(evolve(first, phase=self.phases[first.rank], log=log))

    def _give_up(self) -> NoReturn:
        """Raises with the Python stack of every worker that has not come to its end."""
        late = sorted(self.pipes.values())
        stopped = {rank for rank in late if _is_stopped(self.processes[rank])}
        for rank in late:
            pid = self.processes[rank].pid
            assert pid is not None
            os.kill(pid, signal.SIGABRT)  # faulthandler writes the stack, then the worker dies
            os.kill(pid, signal.SIGCONT)  # one that is stopped would do so only later
        deadline = time.monotonic() + _LAST_WORDS
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
    # A worker leads its group, but not from its first moment on; its number, once it is reaped, may
    # be another's.
    for kill in (os.killpg, os.kill) if process.is_alive() else (os.killpg,):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)


def _is_stopped(process: BaseProcess) -> bool:
    """Whether a signal, or a debugger, has stopped a process; no system but Linux tells."""
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
