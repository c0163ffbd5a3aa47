"""A guard under which any read of megatron-core's global topology raises, naming the reader."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, Final, NoReturn

from megatron.core import parallel_state, utils

_READER: Final = re.compile(
    r"(get_.*_(group|groups|rank|ranks|size|group_gloo)|is_(pipeline|rank)_.*)"
)

_PROBE: Final = re.compile(r"get_(expert_)?gtp_weight_remat_.*")
"""Every linear layer asks whether weights are rematerialised over ranks (tensor_parallel/layers.py:1025
of megatron-core 0.19.2), whatever it was given. Uninitialised, the answer is no."""


_GROUPLESS: Final = {
    "linear_with_frozen_weight",
    "linear_with_grad_accumulation_and_async_allreduce",
}
"""Row-parallel linears give these no group, and they use none (tensor_parallel/layers.py:1349)."""


class ParallelStateRead(AssertionError):
    """Something read its topology from `parallel_state` instead of a group that a grid made."""


@contextmanager
def no_parallel_state() -> Iterator[None]:
    """Make every getter of `megatron.core.parallel_state` raise `ParallelStateRead` in this process.

    Also `get_tensor_model_parallel_group_if_none` given `None`: uninitialised, it hands the `None` on,
    and a collective over `None` is one over the world. Modules imported inside the block, too, get
    the raising functions if they import them by name.
    """
    replaced = {original: _raiser(original) for original in _readers()}
    replaced[utils.get_tensor_model_parallel_group_if_none] = _without_default(
        utils.get_tensor_model_parallel_group_if_none
    )
    originals = {substitute: original for original, substitute in replaced.items()}
    _substitute(replaced)
    try:
        yield
    finally:
        _substitute(originals)


def _readers() -> list[FunctionType]:
    return [
        value
        for name, value in vars(parallel_state).items()
        if isinstance(value, FunctionType) and _READER.fullmatch(name) and not _PROBE.match(name)
    ]


def _substitute(by: dict[Any, Any]) -> None:
    """Put functions in place of others wherever a megatron module holds them under any name."""
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__.startswith("megatron."):
            for name, value in list(vars(module).items()):
                if isinstance(value, FunctionType) and value in by:
                    setattr(module, name, by[value])


def _raiser(original: FunctionType) -> Callable[..., NoReturn]:
    def read(*_args: object, **_kwargs: object) -> NoReturn:
        raise ParallelStateRead(f"{_caller()} reads parallel_state.{original.__name__}")

    return read


def _without_default(original: Callable[..., Any]) -> Callable[..., Any]:
    def checked(tp_group: Any, *args: Any, **kwargs: Any) -> Any:
        if tp_group is None and sys._getframe(1).f_code.co_name not in _GROUPLESS:  # pyright: ignore[reportPrivateUsage]
            raise ParallelStateRead(f"{_caller()} was given no tensor-parallel group")
        return original(tp_group, *args, **kwargs)

    return checked


def _caller() -> str:
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    code = frame.f_code
    return f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
