"""Writes down what a real step moves over each process group, and how much it computes."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final
from unittest.mock import patch

import torch
import torch.distributed as dist
from attrs import field, frozen
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from mimodsl.planner.calls import CallKind

type Moved = Counter[tuple[tuple[int, ...], CallKind]]
"""Message bytes, as nccl-tests counts them, by the members of a group and the kind of call."""

KINDS: Final = {
    "all_reduce": CallKind.ALL_REDUCE,
    "all_gather": CallKind.ALL_GATHER,
    "all_gather_into_tensor": CallKind.ALL_GATHER,
    "reduce_scatter": CallKind.REDUCE_SCATTER,
    "reduce_scatter_tensor": CallKind.REDUCE_SCATTER,
    "all_to_all_single": CallKind.ALL_TO_ALL,
    "broadcast": CallKind.BROADCAST,
    "isend": CallKind.SEND,
    "send": CallKind.SEND,
    "irecv": CallKind.RECEIVE,
    "recv": CallKind.RECEIVE,
}
SECOND: Final = ("reduce_scatter", "reduce_scatter_tensor", "all_to_all_single")
"""Calls whose message is their second argument, the input."""

MEGATRON: Final = (
    "megatron.core.tensor_parallel.mappings",
    "megatron.core.tensor_parallel.layers",
    "megatron.core.distributed.param_and_grad_buffer",
)
"""Where megatron-core took two collectives from torch when it was imported."""

ALIASES: Final = {
    "dist_all_gather_func": "all_gather_into_tensor",
    "dist_reduce_scatter_func": "reduce_scatter_tensor",
}

_ATEN: Any = torch.ops.aten


@frozen
class Recorder:
    """Message bytes of the outermost calls of torch.distributed."""

    moved: Moved = field(factory=Counter)
    _inside: list[str] = field(factory=list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        c10d = dist.distributed_c10d
        with ExitStack() as stack:
            for name in KINDS:
                recorded = self._wrap(name, getattr(dist, name))
                for owner in (dist, c10d) if name in ("isend", "irecv") else (dist,):
                    stack.enter_context(patch.object(owner, name, recorded))
            batched = self._batched(dist.batch_isend_irecv)
            stack.enter_context(patch.object(dist, "batch_isend_irecv", batched))
            for module in map(import_module, MEGATRON):
                for alias, name in ALIASES.items():
                    recorded = self._wrap(name, getattr(module, alias))
                    stack.enter_context(patch.object(module, alias, recorded))
            yield

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if not self._inside:
                message = args[1] if name in SECOND else args[0] if args else kwargs["tensor"]
                found = [one for one in (*args, *kwargs.values()) if _is_group(one)]
                self._add(KINDS[name], message, found[0] if found else None)
            return self._run(name, call, *args, **kwargs)

        return recorded

    def _batched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(ops: list[Any]) -> Any:
            for one in ops:
                kind = CallKind.SEND if one.op is dist.isend else CallKind.RECEIVE
                self._add(kind, one.tensor, one.group)
            return self._run("batch_isend_irecv", call, ops)

        return recorded

    def _run(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._inside.append(name)
        try:
            return call(*args, **kwargs)
        finally:
            self._inside.pop()

    def _add(self, kind: CallKind, message: Any, group: Any) -> None:
        members = tuple(dist.get_process_group_ranks(group))
        if len(members) > 1:
            self.moved[members, kind] += _bytes(message)


def _is_group(value: Any) -> bool:
    return isinstance(value, dist.ProcessGroup)


def _bytes(message: Any) -> int:
    parts = message if isinstance(message, list | tuple) else [message]
    return sum(part.numel() * part.element_size() for part in parts)


def flop_counter() -> FlopCounterMode:
    """torch's counter of operations in products, which does not know its own CPU attention, nor
    that each row is in one of the grouped products."""

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(out: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_backward_flop_count(out, query, key, value)

    def grouped(a: Any, b: Any, *_: Any, **__: Any) -> int:
        return 2 * a[0] * a[1] * b[-1]

    return FlopCounterMode(
        display=False,
        custom_mapping={
            _ATEN._grouped_mm: grouped,
            _ATEN._scaled_dot_product_flash_attention_for_cpu: forward,
            _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: backward,
        },
    )
