"""The writer of checkpoints: it keeps its results in this process, and reports why it failed.

Megatron does: it passes the list of written files through a manager process, even where nothing is
asynchronous (dist_checkpointing/strategies/filesystem_async.py, "def get_write_results_queue"). It
returns an error of writing as a value, and reports only its type
(dist_checkpointing/strategies/filesystem_async.py, "isinstance(local_results_or_exc, list)").
Why it hurts: each rank starts one more Python with torch, which outlives it, and nobody learns that
the disk is full.
Goes when: a synchronous save starts no process and raises what writing raises.
"""

from collections.abc import Generator
from contextlib import contextmanager
from queue import Queue
from typing import Any

from megatron.core.dist_checkpointing.strategies import filesystem_async


@contextmanager
def results_in_process() -> Generator[None]:
    """Keep the list of written files in this process while it saves, and raise a failure."""
    megatron: Any = filesystem_async
    writer = megatron.FileSystemWriterAsync
    write = writer.write_preloaded_data

    def raising(*args: Any, **kwargs: Any) -> Any:
        output = write(*args, **kwargs)
        if isinstance(output[1], Exception):
            raise output[1]
        return output

    megatron._results_queue = Queue()  # noqa: SLF001
    writer.write_preloaded_data = staticmethod(raising)
    try:
        yield
    finally:
        megatron._results_queue = None  # noqa: SLF001
        writer.write_preloaded_data = staticmethod(write)
