"""How much work a call is, without a clock: what the interpreter and the allocator count."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from math import inf


def steps(call: Callable[[], object], most: float = inf) -> int:
    """Calls, resumptions and jumps: whatever is done once a rank costs some for every rank.

    Raises `AssertionError` in the call, there where it does more than `most`.
    """
    events = sys.monitoring.events
    counted = (events.PY_START, events.PY_RESUME, events.CALL, events.JUMP)
    tool, count = sys.monitoring.PROFILER_ID, 0

    def another(*_: object) -> None:
        nonlocal count
        count += 1
        if count > most:
            sys.monitoring.set_events(tool, 0)
            raise AssertionError(f"more than {most:,} steps")

    sys.monitoring.use_tool_id(tool, "steps")
    try:
        for event in counted:
            sys.monitoring.register_callback(tool, event, another)
        sys.monitoring.set_events(tool, sum(counted))
        call()
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)
    assert count <= most, "the call kept it to itself that it does more"
    return count


def peak(call: Callable[[], object]) -> int:
    """Bytes that the call holds at most, beyond what was there before.

    Cycles stay: when they are collected depends on all that ran before.
    """
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
