"""A guard that raises on every read of megatron-core's global topology, and names the reader.

Megatron does: where a caller gives no process group, it takes one from `parallel_state`, or hands
`None` on, and a collective over `None` runs over the world (process_groups_config.py,
"Return None for any declared field").
Why it hurts: every module has a layout of its own here. One forgotten group trains something else,
without an error.
Goes when: megatron-core has no global topology.
"""

import inspect
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any, Final, NoReturn

from megatron.core import parallel_state, utils

_READER: Final = re.compile(
    r"get_.*_(group|group_gloo|groups|rank|ranks|size)|is_(pipeline|rank)_.*"
)

_PROBE: Final = re.compile(r"get_(expert_)?gtp_weight_remat_.*")
"""Every linear of megatron-core asks whether weights are rematerialised over ranks, whatever
groups it was given (tensor_parallel/layers.py, "class ColumnParallelLinear … _pg.expt_gtp_remat").
Uninitialised, the answer is no."""

_DEFAULTING: Final = "get_tensor_model_parallel_group_if_none"
_GROUPLESS: Final = {
    "linear_with_frozen_weight",
    "linear_with_grad_accumulation_and_async_allreduce",
}
"""Row-parallel linears give these no group, and they use none (tensor_parallel/layers.py,
"class RowParallelLinear … self._forward_impl")."""

type _Substitutes = Mapping[FunctionType, FunctionType]


class ParallelStateRead(AssertionError):
    """Something took its topology from `parallel_state` instead of a group that a grid made."""


@contextmanager
def no_parallel_state() -> Generator[None]:
    """Make every getter of `megatron.core.parallel_state` raise `ParallelStateRead` here.

    So does `get_tensor_model_parallel_group_if_none` without a group: uninitialised, it hands the
    `None` on, and a collective over `None` is one over the world. The guard covers this process.
    """
    guards: dict[FunctionType, FunctionType] = {reader: _raising(reader) for reader in _readers()}
    defaulting: FunctionType = vars(utils)[_DEFAULTING]
    guards[defaulting] = _insisting(defaulting)
    _substitute(guards)
    try:
        yield
    finally:
        _substitute({guard: original for original, guard in guards.items()})


def _readers() -> list[FunctionType]:
    return [
        value
        for name, value in vars(parallel_state).items()
        if isinstance(value, FunctionType) and _READER.fullmatch(name) and not _PROBE.match(name)
    ]


def _substitute(substitutes: _Substitutes) -> None:
    """Put functions in place of others wherever a megatron module holds them under any name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("megatron.")]
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and value in substitutes:
                setattr(module, name, substitutes[value])


def _raising(reader: FunctionType) -> FunctionType:
    def read(*_args: object, **_kwargs: object) -> NoReturn:
        raise ParallelStateRead(f"{_name(_caller())} reads parallel_state.{reader.__name__}")

    return _as_function(read)


def _insisting(defaulting: FunctionType) -> FunctionType:
    def checked(tp_group: Any, *args: Any, **kwargs: Any) -> Any:
        if tp_group is None and _caller().f_code.co_name not in _GROUPLESS:
            raise ParallelStateRead(f"{_name(_caller())} has no tensor-parallel group")
        return defaulting(tp_group, *args, **kwargs)

    return _as_function(checked)


def _as_function(function: Callable[..., Any]) -> FunctionType:
    assert isinstance(function, FunctionType)
    return function


def _caller() -> FrameType:
    """The frame that called the function that calls this one."""
    frame = inspect.currentframe()
    caller = frame and frame.f_back and frame.f_back.f_back
    assert caller
    return caller


def _name(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
