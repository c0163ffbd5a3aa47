"""Signals that end a run: the first raises, and none breaks off what tidies up after it."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from attrs import define, field

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(SystemExit):
    """This process was told to end by SIGTERM or SIGHUP; the exit code is the one of shells."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that catches it and exits with a code of its own.

    Where a plain `KeyboardInterrupt` has passed an `exec` of text, of which imports have some,
    CPython 3.12 kills the process at its exit by SIGINT, caught or not (Python/pythonrun.c).
    """


@define
class Ending:
    """What becomes of the signals that ask a process to end.

    Inside `raising` the first one raises `KeyboardInterrupt` or `Terminated`; elsewhere it waits
    for such a block. Those after it are dropped: the end that they ask for has begun.
    """

    _interrupt: type[KeyboardInterrupt] = KeyboardInterrupt
    _first: int | None = field(default=None, init=False)
    _settled: bool = field(default=False, init=False)
    _raising: bool = field(default=False, init=False)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        if self._first is None:
            self._first = number
            self._raise_if_due()

    @contextmanager
    def raising(self) -> Generator[None]:
        """A block that a signal may break off anywhere."""
        with self._set(raising=True):
            self._raise_if_due()
            yield

    @contextmanager
    def waiting(self) -> Generator[None]:
        """A block that no signal breaks off.

        One that comes meanwhile raises after it, unless the block ends in an exception of its own.
        """
        with self._set(raising=False):
            try:
                yield
            except BaseException:
                self._settled = self._first is not None
                raise
        self._raise_if_due()

    @contextmanager
    def _set(self, *, raising: bool) -> Generator[None]:
        before, self._raising = self._raising, raising
        try:
            yield
        finally:
            self._raising = before

    def _raise_if_due(self) -> None:
        if self._first is None or self._settled or not self._raising:
            return
        self._settled = True
        raise self._interrupt if self._first == signal.SIGINT else Terminated(self._first)


@contextmanager
def ending_signals(*, last: bool = False) -> Generator[Ending]:
    """Takes over the signals that end a process, except those that it ignores or handles itself.

    None breaks the block off except inside `raising`. One that is still due after it raises then,
    unless the block ends in an exception of its own. The `last` block of a process is one after
    which it only exits: no signal disturbs that. Does nothing outside the main thread, nor in a
    rank of torchrun: SIGTERM has to end one that waits in a collective, where Python is deaf.
    """
    outer = _outer()
    if outer is not None:
        with outer.waiting():
            yield outer
        return
    ending = Ending(Interrupted if last else KeyboardInterrupt)
    if threading.current_thread() is not threading.main_thread() or "RANK" in os.environ:
        yield ending
        return
    taken = {number: signal.getsignal(number) for number in _ENDING if _is_default(number)}
    for number in taken:
        signal.signal(number, ending.handle)
    try:
        with ending.raising(), ending.waiting():
            yield ending
    finally:
        for number, handler in taken.items():
            signal.signal(number, signal.SIG_IGN if last else handler)


@contextmanager
def temporary_folder() -> Generator[Path]:
    """A folder that is gone after the block, with all that is in it, whenever a signal comes."""
    import tempfile  # slow, and not every command needs it

    with (
        ending_signals() as signals,
        tempfile.TemporaryDirectory(prefix="mimodsl-") as folder,
        signals.raising(),
    ):
        yield Path(folder)


@contextmanager
def held() -> Generator[None]:
    """A block in which this thread gets no signal, nor does a process that is forked in it.

    Another thread may get it for Python, which then acts in the main thread: see `Ending.waiting`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _is_default(number: int) -> bool:
    return signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def _outer() -> Ending | None:
    """Who has taken the signals over already."""
    for number in _ENDING:
        owner = getattr(signal.getsignal(number), "__self__", None)
        if isinstance(owner, Ending):
            return owner
    return None
