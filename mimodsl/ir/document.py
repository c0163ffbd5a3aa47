"""A spec as a plain document (what JSON can hold), and back: for programs and for checkpoints."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, cast

import attrs

from mimodsl.ir.blocks import Attention, Mamba, Moe
from mimodsl.ir.custom import kind_of
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Axis, Grid, View
from mimodsl.ir.kinds import KINDS
from mimodsl.ir.lr_decay import ConstantLr, CosineLr, InverseSquareRootLr, LinearLr, WsdLr
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.placement import Beside, Placed, Together
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import AdamW, Ddp, Train
from mimodsl.ir.types import Size

TYPE: Final = "type"
VERSION: Final = 1
"""Of the documents: it goes up when a field changes its meaning or goes away."""
_NODES: Final[tuple[type, ...]] = (
    *(Spec, Grid, View, Axis, Placed, Beside, Together, Module, Flow, Schedule),
    *(Train, AdamW, Ddp, ConstantLr, LinearLr, CosineLr, InverseSquareRootLr, WsdLr),
    *(Attention, Mamba, Moe, Size),
)


def as_document(spec: Spec) -> dict[str, Any]:
    """Every field of a spec by name, defaults included; `type` says what an object is."""
    return {"version": VERSION} | _written(spec)


def from_document(document: Mapping[str, Any]) -> Spec:
    """The spec of a document. Fields that are left out have their defaults.

    Raises `ValueError` for anything else that `as_document` does not make.
    """
    if document.get("version") != VERSION:
        raise ValueError(
            f"the document has version {document.get('version')!r}, this mimodsl reads {VERSION}"
        )
    fields = {key: value for key, value in document.items() if key not in ("version", "$schema")}
    spec = _read(fields, classes())
    if not isinstance(spec, Spec):
        raise ValueError("the document is not of a spec")  # noqa: TRY004 - its value is wrong
    return spec


def classes() -> dict[str, type]:
    """What an object of a document may be, by its `type`."""
    kinds = {keyword: cast(type, kind) for keyword, kind in KINDS.items()}
    return kinds | {cls.__name__.lower(): cls for cls in _NODES}


def _written(value: object) -> Any:
    if isinstance(value, Node | Size):
        return {TYPE: type_name(type(value))} | {
            field: _written(getattr(value, field)) for field in _fields(type(value))
        }
    if isinstance(value, tuple):
        return [_written(item) for item in cast("tuple[object, ...]", value)]
    return str(value) if isinstance(value, StrEnum) else value


def type_name(cls: type) -> str:
    """The `type` of a class's objects: a kind's keyword, else the class's name in small letters."""
    return getattr(cast(Any, cls), "keyword", cls.__name__.lower())


def _fields(cls: Any) -> Iterator[str]:
    return (field.name for field in attrs.fields(cls) if field.name != "origin")


def _read(value: Any, classes: Mapping[str, type]) -> Any:
    if isinstance(value, list):
        return tuple(_read(item, classes) for item in cast("list[Any]", value))
    if not isinstance(value, Mapping):
        return value
    fields = {key: _read(item, classes) for key, item in cast("Mapping[str, Any]", value).items()}
    name = fields.pop(TYPE, None)
    cls = (classes.get(name) or kind_of(name)) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"there is no type {name!r}")
    try:
        return cls(**fields)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
