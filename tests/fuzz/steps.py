"""Counts the interpreter's steps, which are the same on a busy machine as on an idle one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = 8_000_000
"""Calls and turns of loops that a text may take: about a second on a laptop that counts none."""

_TOOL = 3  # one of those that sys.monitoring leaves to its users
_EVENTS = sys.monitoring.events
_COUNTED = (_EVENTS.PY_START, _EVENTS.PY_RESUME, _EVENTS.JUMP)


class Steps:
    """How many steps were taken."""

    count = 0

    def take(self, *_: object) -> None:
        self.count += 1


@contextmanager
def counted(steps: Steps) -> Iterator[None]:
    """Adds the steps of a block."""
    sys.monitoring.use_tool_id(_TOOL, "steps")
    for event in _COUNTED:
        sys.monitoring.register_callback(_TOOL, event, steps.take)
    sys.monitoring.set_events(_TOOL, sum(_COUNTED))
    try:
        yield
    finally:
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)
