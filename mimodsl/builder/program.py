"""The program of a plan on this machine: kernels resolved, and every name imported."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import torch

from mimodsl.checker.rules import rule_of
from mimodsl.checker.runner import check
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels
from mimodsl.planner.plan import Plan, with_kernels
from mimodsl.planner.program.names import Call, Name
from mimodsl.planner.program.values import Program
from mimodsl.planner.programs import program


def program_here(planned: Plan) -> Program:
    """What ranks of this machine are told to build and train a plan's spec.

    Raises:
        ValueError: for a kernel that the resolved set lacks.
    """
    resolved = with_kernels(planned, resolve(planned.spec.train.kernels))
    _insist_on_kernels(planned.spec, resolved.spec)
    return imported(program(resolved))


def resolve(kernels: Kernels) -> Kernels:
    """The kernel set that `auto` stands for here: Transformer Engine's on a GPU that has it.

    Raises:
        ValueError: where Transformer Engine is asked for by name and cannot be had.
    """
    available = find_spec("transformer_engine") is not None and torch.cuda.is_available()
    if kernels is Kernels.AUTO:
        return Kernels.TRANSFORMER_ENGINE if available else Kernels.LOCAL
    if kernels is Kernels.TRANSFORMER_ENGINE and not available:
        raise ValueError(
            "kernels = transformer_engine needs a GPU and the extra `te`; "
            "`auto` takes the local kernels where they are missing"
        )
    return kernels


def _insist_on_kernels(spec: Spec, resolved: Spec) -> None:
    """Refuse what the kernels that `auto` stands for here lack, in the words of the rule."""
    rule = rule_of("MIMO731")
    assert rule is not None
    for found in check(resolved, [rule]):
        raise ValueError(
            f"{found.primary.where}: kernels = {spec.train.kernels} are {resolved.train.kernels} "
            f"kernels here, and {found.message} ({found.code})"
        )


def imported[T](value: T) -> T:
    """A value with every `Name` in it replaced by its object, and every `Call` by its result."""
    return cast(T, _imported(value))


def _imported(value: Any) -> Any:
    if isinstance(value, Name):
        return getattr(import_module(value.module), value.name)
    if isinstance(value, Call):
        function: Any = _imported(value.function)
        return function(*map(_imported, value.positional), **_imported(dict(value.keywords)))
    if isinstance(value, dict):
        items = cast("Mapping[Any, Any]", value)
        return {key: _imported(item) for key, item in items.items()}
    if isinstance(value, list):
        return [_imported(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        parts = [_imported(item) for item in cast("tuple[Any, ...]", value)]
        make: Any = getattr(type(cast(object, value)), "_make", tuple)
        return make(parts)
    return value
