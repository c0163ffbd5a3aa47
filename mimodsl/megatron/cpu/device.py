"""The device of tensors: a CPU wherever megatron-core names CUDA.

Megatron does: it allocates on `torch.cuda.current_device()`, moves tensors with `.cuda()`, pins
memory (models/common/embeddings/rope_utils.py, "cp_idx = torch.tensor") and sorts parameters by the
names of CUDA's tensor types (optimizer/optimizer.py, "if param.type() in";
optimizer/distrib_optimizer.py, "if model_param.type() in").
Why it hurts: torch refuses each of these without a GPU, or the optimizer knows no parameter.
Goes when: megatron-core takes a device from its caller.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,  # pyright: ignore[reportPrivateUsage]
)

CPU: Final = torch.device("cpu")


class CudaMeansCpu(TorchFunctionMode):
    """Gives a CPU meaning to what a call or a tensor method says about its device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            # The optimizers sort parameters by CUDA type names (optimizer/optimizer.py,
            # "if param.type() in"; optimizer/distrib_optimizer.py, "if model_param.type() in").
            return func(*args).replace("torch.", "torch.cuda.", 1)
        if func is torch.Tensor.to:
            args = tuple(_on_cpu(arg) for arg in args)
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _on_cpu(kwargs["device"])}
        if kwargs.get("pin_memory"):
            # Rotary embeddings pin an index over cp (models/common/embeddings/rope_utils.py,
            # "cp_idx = torch.tensor").
            kwargs = {**kwargs, "pin_memory": False}
        return func(*args, **kwargs)


def _on_cpu(value: Any) -> Any:
    """The CPU where `value` names a CUDA device, else `value` itself."""
    if isinstance(value, torch.device):
        return CPU if value.type == "cuda" else value
    if isinstance(value, str) and value.partition(":")[0] == "cuda":
        return CPU
    return value


def with_mode(run_backward: Callable[..., Any]) -> Callable[..., Any]:
    """`run_backward` under the mode that a torch function such as `Tensor.backward` took off."""

    def run_backward_on_cpu(*args: Any, **kwargs: Any) -> Any:
        modes = _get_current_function_mode_stack()
        active = any(isinstance(mode, CudaMeansCpu) for mode in modes)
        with contextlib.nullcontext() if active else CudaMeansCpu():
            return run_backward(*args, **kwargs)

    return run_backward_on_cpu
