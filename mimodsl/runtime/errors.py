"""The errors that end a run: the rank, the phase and the cause, with messages for a terminal."""

from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

STARTING = "starting"


@frozen(kw_only=True)
class Failure:
    """The failure of one rank: it raised an exception, or its process ended.

    `where` is the innermost frame (`file:line in function`). `missing` is the module that could not
    be imported, if that is the cause. `message` is the whole message of a `RunError` of the rank.
    `traceback` and `log` may be empty. `time` is in seconds of `time.monotonic`.
    """

    rank: int
    phase: str
    error: str
    where: str = ""
    missing: str = ""
    message: str = ""
    traceback: str = field(default="", repr=False)
    log: str = field(default="", repr=False)
    time: float = field(default=0.0, repr=False)


@frozen(kw_only=True)
class Waiting:
    """The place where one rank waits in a run that hangs.

    `call` is the function of torch.distributed in which it waits, if any, and `stack` its Python
    stack. `stopped` says that a signal or a debugger has stopped its process.
    """

    rank: int
    phase: str
    where: str
    call: str = ""
    stopped: bool = False
    stack: str = field(default="", repr=False)


class RunError(Exception):
    """A run that failed. `--verbose` adds `details` to the message.

    `explained` says that the message is complete, so that a traceback would add nothing.
    """

    details: str = ""
    explained: bool = False


class RankFailed(RunError):
    """One rank failed, and the run ended all others."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.details = failure.traceback
        if failure.message:
            self.explained = True
            super().__init__(failure.message)
            return
        lines = [f"rank {failure.rank} failed ({failure.phase})", *_indented(failure.error)]
        if failure.where:
            lines.append(f"  at {failure.where}")
        if failure.log:
            lines += [f"the last lines that rank {failure.rank} printed:", *_indented(failure.log)]
        super().__init__("\n".join(lines))


class RanksHung(RunError):
    """No rank reported anything for `timeout` seconds; `waiting` says where each rank waits.

    `done` are the ranks that had already finished their work.
    """

    def __init__(
        self, timeout: float, waiting: Iterable[Waiting], done: Iterable[int] = ()
    ) -> None:
        self.timeout = timeout
        self.waiting = tuple(waiting)
        self.details = "\n".join(f"rank {rank.rank}:\n{rank.stack}" for rank in self.waiting)
        places: dict[str, list[int]] = {}
        for rank in self.waiting:
            places.setdefault(_place(rank), []).append(rank.rank)
        lines = [f"no rank moved for {timeout:g} s; the ranks still running were waiting:"]
        lines += [f"  {rank_list(ranks)} {place}" for place, ranks in places.items()]
        super().__init__("\n".join([*lines, *_absent(self.waiting, sorted(done))]))


def _place(rank: Waiting) -> str:
    doing = "stopped" if rank.stopped else f"in {rank.call}" if rank.call else ""
    return " ".join(filter(None, [f"({rank.phase})", doing, rank.where and f"at {rank.where}"]))


def _absent(waiting: tuple[Waiting, ...], done: list[int]) -> Iterator[str]:
    """The ranks that the others wait for, if that is certain: never more ranks than wait."""
    joined = [rank.rank for rank in waiting if rank.call and not rank.stopped]
    stopped = [rank.rank for rank in waiting if rank.stopped]
    apart = [rank.rank for rank in waiting if not rank.call and not rank.stopped]
    if stopped:
        yield f"{rank_list(stopped)} did not arrive: stopped by a signal or a debugger"
    elif joined and apart and len(apart) <= len(joined):
        yield f"{rank_list(apart)} did not arrive: in no call that waits for other ranks"
    elif joined and done:
        yield f"{rank_list(done)} did not arrive: done with all work"


class NoDevice(RunError):
    """The machine has too few devices."""


class WrongWorld(RunError):
    """A launcher has started more or fewer ranks than the spec has."""


def rank_list(ranks: Iterable[int]) -> str:
    """`rank 3`, or `ranks 0-3, 6` for several."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and spans[-1][-1] == rank - 1:
            spans[-1].append(rank)
        else:
            spans.append([rank])
    words = [str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans]
    alone = len(spans) == 1 and len(spans[0]) == 1
    return ("rank " if alone else "ranks ") + ", ".join(words)


def phases_of(phases: Mapping[int, str]) -> str:
    """The phase of each rank in few words; only the phase if it is the same for all."""
    by_phase: dict[str, list[int]] = {}
    for rank, phase in phases.items():
        by_phase.setdefault(phase, []).append(rank)
    if len(by_phase) == 1:
        return next(iter(by_phase))
    return "; ".join(f"{rank_list(ranks)}: {phase}" for phase, ranks in by_phase.items())


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
