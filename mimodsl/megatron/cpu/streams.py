"""CUDA streams and events on a device that runs everything in program order.

Megatron does: dispatchers, shared experts and DDP make streams and wait for events on them
(transformer/moe/shared_experts.py, "torch.cuda.Stream").
Why it hurts: torch makes no stream without a GPU.
Goes when: megatron-core makes streams only where tensors are on CUDA.
"""

import contextlib
from typing import Any

import torch


class NullEvent:
    """A CUDA event on a device that runs in program order: it has happened once it is recorded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def record(self, stream: Any = None) -> None: ...

    def wait(self, stream: Any = None) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True


class NullStream(contextlib.AbstractContextManager["NullStream"]):
    """A CUDA stream on a device that runs in program order. Every stream is the current one."""

    device = torch.device("cpu")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NullStream)

    def __hash__(self) -> int:
        return hash(NullStream)

    def __exit__(self, *_: object) -> None: ...

    def wait_stream(self, stream: Any) -> None: ...

    def wait_event(self, event: Any) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True

    def record_event(self, event: NullEvent | None = None) -> NullEvent:
        return event or NullEvent()

    @staticmethod
    def priority_range() -> tuple[int, int]:
        return 0, 0
