"""A launcher's clock that goes by what ranks do, and not by how fast this machine lets them."""

import contextlib
import os
import struct
from collections import Counter
from pathlib import Path

from attrs import define, field

LOOKS = 5
"""How many looks in a row have to find all ranks still. Between two of them the launcher waits for
ranks to say something, and hears nothing."""


@define(kw_only=True)
class Stillness:
    """Stands at 0 until `ranks` processes have said `times` times each that they come to a halt and
    then neither run nor want to; then it is far ahead."""

    ranks: int
    times: int = 1
    _pipe: tuple[int, int] = field(init=False)
    _said: Counter[int] = field(factory=Counter, init=False)
    _still: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[0], False)

    def say(self) -> None:
        """For a rank: what follows in the calling function halts."""
        os.write(self._pipe[1], struct.pack("i", os.getpid()))

    def clock(self) -> float:
        with contextlib.suppress(BlockingIOError):
            while found := os.read(self._pipe[0], struct.calcsize("i")):
                self._said.update(struct.unpack("i", found))
        halting = [pid for pid, times in self._said.items() if times >= self.times]
        still = len(halting) == self.ranks and all(map(_halts, halting))
        self._still = self._still + 1 if still else 0
        return 1e9 if self._still > LOOKS else 0.0

    def close(self) -> None:
        for end in self._pipe:
            os.close(end)


def _halts(pid: int) -> bool:
    """Whether a process's main thread sleeps or is stopped: it is `R` while it waits for a core."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0] in "StT"
