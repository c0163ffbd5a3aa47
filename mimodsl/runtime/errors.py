"""How a run ends badly: data about the rank and the phase, put into words for the terminal."""

from collections.abc import Iterable, Iterator, Mapping

from attrs import field, frozen

STARTING = "starting"


@frozen(kw_only=True)
class Failure:
    """What ended one rank: an exception of its own, or the end of its process.

    `where` is the innermost frame (`file:line in function`), `missing` the module that could not be
    imported where that was it, `message` what to say where the rank has put it in words itself;
    `traceback` and `log` may be empty.
    """

    rank: int
    phase: str
    error: str
    where: str = ""
    missing: str = ""
    message: str = ""
    traceback: str = field(default="", repr=False)
    log: str = field(default="", repr=False)
    at: float = field(default=0.0, repr=False)


@frozen(kw_only=True)
class Waiting:
    """Where one rank stood when nothing moved any more.

    `call` is the function of torch.distributed that it waited in, if any, and `stack` its Python
    stack; `stopped` says that its process was stopped from outside.
    """

    rank: int
    phase: str
    where: str
    call: str = ""
    stopped: bool = False
    stack: str = field(default="", repr=False)


class RunError(Exception):
    """A run that ended badly; `details` is what `--verbose` adds to the message.

    `explained` says that the message is all there is to know, and a traceback would add nothing.
    """

    details: str = ""
    explained: bool = False


class RankFailed(RunError):
    """One rank failed and the others were ended with it."""

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
    """No rank reported anything for `timeout` seconds; `waiting` says where each one stood.

    `done` are the ranks whose work had ended well before.
    """

    def __init__(
        self, timeout: float, waiting: Iterable[Waiting], done: Iterable[int] = ()
    ) -> None:
        self.timeout = timeout
        self.waiting = tuple(waiting)
        self.details = "\n".join(f"rank {at.rank}:\n{at.stack}" for at in self.waiting)
        places: dict[str, list[int]] = {}
        for at in self.waiting:
            places.setdefault(_place(at), []).append(at.rank)
        lines = [f"no rank moved for {timeout:g} s; the ranks still running were waiting:"]
        lines += [f"  {rank_list(ranks)} {place}" for place, ranks in places.items()]
        super().__init__("\n".join([*lines, *_absent(self.waiting, sorted(done))]))


def _place(at: Waiting) -> str:
    doing = "stopped" if at.stopped else f"in {at.call}" if at.call else ""
    return " ".join(filter(None, [f"({at.phase})", doing, at.where and f"at {at.where}"]))


def _absent(waiting: tuple[Waiting, ...], done: list[int]) -> Iterator[str]:
    """For whom the others wait, as far as it can be told: never a guess against the majority."""
    joined = [at.rank for at in waiting if at.call and not at.stopped]
    stopped = [at.rank for at in waiting if at.stopped]
    apart = [at.rank for at in waiting if not at.call and not at.stopped]
    if stopped:
        yield f"{rank_list(stopped)} did not arrive: stopped by a signal or a debugger"
    elif joined and apart and len(apart) <= len(joined):
        yield f"{rank_list(apart)} did not arrive: in no call that waits for other ranks"
    elif joined and done:
        yield f"{rank_list(done)} did not arrive: done with all work"


class NoDevice(RunError):
    """The asked-for devices are not there."""


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
    """Which ranks are in which phase, in few words; a phase that all share stands alone."""
    by_phase: dict[str, list[int]] = {}
    for rank, phase in phases.items():
        by_phase.setdefault(phase, []).append(rank)
    if len(by_phase) == 1:
        return next(iter(by_phase))
    return "; ".join(f"{rank_list(ranks)}: {phase}" for phase, ranks in by_phase.items())


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
