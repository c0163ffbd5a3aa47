"""Reads the Python stacks that faulthandler writes."""

import linecache
import re

from mimodsl.runtime.worker import short_path

_FRAME = re.compile(
    r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE
)
_THREAD = re.compile(r"^(?:Current thread|Thread) .*\(most recent call first\):$", re.MULTILINE)
_NOT_ITS_OWN = ("torch/", "mimodsl/megatron/cpu/", "multiprocessing/", "threading.py")


def innermost_call(dump: str) -> str:
    """The innermost frame of the main thread that is not torch's or Python's own.

    `megatron/core/….py:42 in function`; empty where the dump has no frame. faulthandler writes the
    main thread last and each stack from its innermost frame outwards.
    """
    stacks = _THREAD.split(dump)
    frames = [
        (short_path(frame["file"]), frame["line"], frame["function"])
        for frame in _FRAME.finditer(stacks[-1])
    ]
    if not frames:
        return ""
    own = (frame for frame in frames if not frame[0].startswith(_NOT_ITS_OWN))
    file, line, function = next(own, frames[0])
    return f"{file}:{line} in {function}"


def waiting_call(dump: str) -> str:
    """The call in which a rank waits for others: `all_reduce`, `wait`; empty where it is in none.

    It is a function of torch.distributed in any thread, since a GPU's backward has its own, or the
    `wait` of a request, which is C++ and shows only in the line that calls it.
    """
    for stack in reversed(_THREAD.split(dump)):
        frames = list(_FRAME.finditer(stack))
        for frame in frames:
            if frame["file"].endswith("torch/distributed/distributed_c10d.py"):
                return frame["function"]
        if frames and not frames[0]["file"].endswith("threading.py"):
            line = linecache.getline(frames[0]["file"], int(frames[0]["line"]))
            if ".wait()" in line:
                return "wait"
    return ""
