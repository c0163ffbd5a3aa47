"""Runs the work of one rank in its process, and reports to the launcher."""

import ctypes
import faulthandler
import os
import pickle
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TextIO

from attrs import field, frozen

from mimodsl.runtime.errors import Failure, RunError
from mimodsl.runtime.library_output import redirect, silence_warnings

_PR_SET_PDEATHSIG = 1


@frozen
class Entered:
    """A rank begins a phase: `process groups`, `model`, `step 3`."""

    rank: int
    phase: str


@frozen
class Reported:
    """A rank reports a value for the observer."""

    rank: int
    value: Any


@frozen
class Returned:
    """A rank has finished its work, with this result."""

    rank: int
    value: Any


type Event = Entered | Reported | Returned | Failure


@frozen(kw_only=True)
class Worker:
    """The rank that does some work, with the pipe through which it reports to the launcher."""

    rank: int
    world: int
    pipe: Connection = field(repr=False)

    def phase(self, name: str) -> None:
        """Reports the phase that begins. Progress and errors show it."""
        self._send(Entered(self.rank, name))

    def report(self, value: Any) -> None:
        """Sends a value, which must pickle, to the launcher's observer."""
        self._send(Reported(self.rank, value))

    def _send(self, event: Event) -> None:
        # Plain pickle: Connection.send would let torch hand tensors over as shared memory.
        self.pipe.send_bytes(pickle.dumps(event))


@frozen(kw_only=True)
class Files:
    """The files for output and stacks. With `echo`, output goes to the launcher's stderr."""

    folder: Path
    echo: bool

    def log(self, rank: int) -> Path:
        return self.folder / f"rank{rank}.log"

    def stack(self, rank: int) -> Path:
        return self.folder / f"rank{rank}.stack"


def serve(worker: Worker, files: Files, launcher: int, work: Callable[[Worker], Any]) -> NoReturn:
    """Does the work in this process, reports the result or the failure, and exits."""
    with files.stack(worker.rank).open("w") as stack:
        _isolate(worker, files, launcher)
        faulthandler.enable(stack, all_threads=True)
        outcome, code = _outcome(worker, work)
        worker.pipe.send_bytes(outcome)
        sys.stdout.flush()
        sys.stderr.flush()
        # No exit handlers: a forked worker has its launcher's, and torch's may wait for peers.
        os._exit(code)


def serve_sealed(worker: Worker, files: Files, launcher: int, work: bytes) -> NoReturn:
    """As `serve`, in a new interpreter: it unpickles the work once output is redirected."""

    def unsealed(worker: Worker) -> Any:
        return pickle.loads(work)(worker)

    serve(worker, files, launcher, unsealed)


def _outcome(worker: Worker, work: Callable[[Worker], Any]) -> tuple[bytes, int]:
    try:
        return pickle.dumps(Returned(worker.rank, work(worker))), 0
    except BaseException as error:  # noqa: BLE001 - nobody else could report a SystemExit
        return pickle.dumps(failure_of(worker.rank, error)), 1


def failure_of(rank: int, error: BaseException) -> Failure:
    """An exception as data. The phase is empty: the launcher knows it."""
    return Failure(
        rank=rank,
        phase="",
        error="".join(traceback.format_exception_only(error)).strip(),
        where=_innermost(error),
        missing=(error.name or "") if isinstance(error, ModuleNotFoundError) else "",
        message=str(error) if isinstance(error, RunError) else "",
        traceback="".join(traceback.format_exception(error)),
        time=time.monotonic(),
    )


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f"{short_path(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}"


def short_path(path: str) -> str:
    """A module's file from its package on: `megatron/core/utils.py`."""
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        if path.startswith(folder.rstrip("/") + "/"):
            return path[len(folder.rstrip("/")) + 1 :]
    return path


def _isolate(worker: Worker, files: Files, launcher: int) -> None:
    """Isolate this process: session, signals, core dumps, output; and end it with the launcher."""
    os.setsid()
    # The terminal's Ctrl-C is for the launcher alone, even where it came before setsid.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)
    # A forked process has the launcher's filters of warnings.
    warnings.resetwarnings()
    if files.echo:
        os.dup2(2, 1)
    else:
        redirect(files.log(worker.rank))
        silence_warnings()
    # It also has the launcher's streams, and those of a notebook or test runner write elsewhere.
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", 1, encoding="utf-8", errors="replace", closefd=False)
