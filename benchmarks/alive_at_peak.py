"""What is allocated on a GPU at the peak of an action, by the lines of Python that allocated it."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import torch

_FRAMES: Final = 3
"""Of an allocation's stack: the innermost that are no part of torch."""


def alive_at_peak(action: Callable[[], object], top: int = 30) -> list[tuple[int, str]]:
    """Bytes by place, largest first; what was allocated before the action is one of them.

    Reads what CUDA's allocator of torch 2.11 records: a block counts until it is asked to be free,
    as in `max_memory_allocated`.
    """
    memory: Any = torch.cuda.memory
    memory._record_memory_history(  # noqa: SLF001
        context="alloc", stacks="python", max_entries=2_000_000
    )
    before = torch.cuda.memory_allocated()
    action()
    torch.cuda.synchronize()
    events = memory._snapshot()["device_traces"][torch.cuda.current_device()]  # noqa: SLF001
    memory._record_memory_history(enabled=None)  # noqa: SLF001
    places: Counter[str] = Counter({"before the step": before})
    for event in _at_peak(events):
        places[_place(event["frames"])] += event["size"]
    return [(size, place) for place, size in places.most_common(top)]


def _at_peak(events: Iterable[Any]) -> list[Any]:
    """The allocations that are alive when their sum is greatest."""
    now = most = 0
    alive: dict[int, Any] = {}
    found: list[Any] = []
    for event in events:
        if event["action"] == "alloc":
            alive[event["addr"]] = event
            now += event["size"]
        elif event["action"] == "free_requested":
            # What was there before the recording began is freed without an event of its own.
            now -= event["size"]
            alive.pop(event["addr"], None)
        if now > most:
            most, found = now, list(alive.values())
    return found


def _place(frames: Iterable[Any]) -> str:
    own = [one for one in frames if "/torch/" not in one["filename"] and one["line"]]
    return " < ".join(
        f"{'/'.join(Path(one['filename']).parts[-2:])}:{one['line']} {one['name']}"
        for one in own[:_FRAMES]
    )
