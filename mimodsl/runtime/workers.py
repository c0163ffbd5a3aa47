"""Local worker processes: started together, watched together, and ended together."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn, Protocol, cast

from attrs import define, evolve, field, frozen

from mimodsl.runtime.errors import STARTING, Failure, RankFailed, RanksHung, Waiting
from mimodsl.runtime.quiet import output_to, tail
from mimodsl.runtime.stacks import innermost_call
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
_LAST_WORDS = 2.0  # seconds a hung rank has to write its stack
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Observer(Protocol):
    """What is told of a run while it lasts; each call comes in the launcher's main thread."""

    def entered(self, rank: int, phase: str) -> None: ...

    def reported(self, rank: int, value: Any) -> None: ...

    def tick(self) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def entered(self, rank: int, phase: str) -> None: ...

    def reported(self, rank: int, value: Any) -> None: ...

    def tick(self) -> None: ...


@frozen(kw_only=True)
class Watch:
    """How a run is watched. It hangs once no rank has reported anything for `timeout` seconds."""

    timeout: float = 300.0
    observer: Observer = field(factory=Silent)
    verbose: bool = False
    clock: Callable[[], float] = time.monotonic


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
    `KeyboardInterrupt` or `SystemExit` for a signal.
    """
    with tempfile.TemporaryDirectory(prefix="mimodsl-") as folder, _signals_raise():
        crew = _Crew(
            watch=watch or Watch(),
            files=Files(folder=Path(folder), echo=bool(watch and watch.verbose)),
        )
        try:
            crew.start(count, work, start)
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

    def start(self, count: int, work: Callable[[Worker], Any], method: str) -> None:
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
            with _signals_held():
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
            if self.failures:
                self._fail()
            self.watch.observer.tick()
        return tuple(self.values[rank] for rank in sorted(self.values))

    def end(self) -> None:
        """Kills every worker with all it started, and waits until each is gone."""
        with _signals_held():
            for process in self.processes:
                _kill(process)
        for process in self.processes:
            process.join()
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

    def _closed(self, pipe: Connection) -> None:
        rank = self.pipes.pop(pipe)
        pipe.close()
        if rank in self.values or any(failure.rank == rank for failure in self.failures):
            return
        process = self.processes[rank]
        process.join()
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
        for rank in late:
            pid = self.processes[rank].pid
            assert pid is not None
            os.kill(pid, signal.SIGABRT)  # faulthandler writes the stack, then the worker dies
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
                    stack=self._stack(rank),
                )
                for rank in late
            ],
        )

    def _stack(self, rank: int) -> str:
        path = self.files.stack(rank)
        return path.read_text(errors="replace") if path.exists() else ""

    def _where(self, rank: int) -> str:
        return innermost_call(self._stack(rank))


def _kill(process: BaseProcess) -> None:
    assert process.pid is not None
    for kill in (os.killpg, os.kill):  # a worker leads its group, but not from its first moment on
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)


def _ending(process: BaseProcess) -> str:
    code = process.exitcode
    assert code is not None
    if code < 0:
        return f"the process was killed by signal {-code} ({signal.Signals(-code).name})"
    return f"the process exited with code {code} before its work was done"


@contextlib.contextmanager
def _signals_held() -> Generator[None]:
    """Lets no signal interrupt a block that may not be left half done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _signals_raise() -> Generator[None]:
    """Turns SIGTERM and SIGHUP into `SystemExit`, so that they too leave nothing over."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
