"""A spec as a plain document (what JSON can hold), and back: for programs and for checkpoints."""

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, cast

import attrs

from mimodsl.diagnostics.suggest import did_you_mean
from mimodsl.ir.blocks import Attention, Mamba, Moe
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Axis, Grid, View
from mimodsl.ir.installed import kind_of
from mimodsl.ir.kinds import KINDS
from mimodsl.ir.lr_decay import ConstantLr, CosineLr, InverseSquareRootLr, LinearLr, WsdLr
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node, Origin
from mimodsl.ir.placement import Beside, Placed, Together
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import AdamW, Ddp, Train
from mimodsl.ir.types import Refused, Size

TYPE: Final = "type"
VERSION: Final = 1
"""Of the documents: it goes up when a field changes its meaning or goes away."""
_NODES: Final[tuple[type, ...]] = (
    *(Spec, Grid, View, Axis, Placed, Beside, Together, Module, Flow, Schedule),
    *(Train, AdamW, Ddp, ConstantLr, LinearLr, CosineLr, InverseSquareRootLr, WsdLr),
    *(Attention, Mamba, Moe, Size),
)

type DocumentPath = tuple[str | int, ...]
"""Keys and indices that lead to a place in a document."""

type Origins = Callable[[DocumentPath, tuple[str, ...]], Origin]
"""The origin of the node at a path, of which some fields are given."""


class BadDocument(ValueError):
    """A document that no spec makes: the path of what is wrong, what is wrong there, and help."""

    def __init__(self, path: DocumentPath, message: str, help: tuple[str, ...] = ()) -> None:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        where = "".join(steps).removeprefix(".")
        super().__init__(f"{where}: {message}" if where else message)
        self.path, self.help = path, help


def as_document(spec: Spec) -> dict[str, Any]:
    """Every field of a spec by name, defaults included; `type` says what an object is."""
    return {"version": VERSION} | _written(spec)


def as_text(spec: Spec) -> str:
    """The document of a spec as the text of a file."""
    return json.dumps(as_document(spec), indent=2, ensure_ascii=False) + "\n"


def from_document(document: Any, origins: Origins | None = None) -> Spec:
    """The spec of a document. Fields that are left out have their defaults; `origins` say where
    nodes were written, if anywhere.

    Raises `BadDocument` for anything else that `as_document` does not make.
    """
    if not isinstance(document, Mapping):
        raise BadDocument((), "the document is not of a spec")
    document = cast("Mapping[str, Any]", document)
    if document.get("version") != VERSION:
        raise BadDocument(
            ("version",) if "version" in document else (),
            f"the document has {_version(document)}, this mimodsl reads {VERSION}",
        )
    fields = {key: value for key, value in document.items() if key not in ("version", "$schema")}
    try:
        spec = _read(fields, classes(), origins, ())
    except RecursionError:
        raise BadDocument((), "brackets are nested too deeply") from None
    if not isinstance(spec, Spec):
        raise BadDocument((), "the document is not of a spec")
    return spec


def _version(document: Mapping[str, Any]) -> str:
    return f"version {document['version']!r}" if "version" in document else "no version"


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


def _read(
    value: Any, classes: Mapping[str, type], origins: Origins | None, path: DocumentPath
) -> Any:
    if isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
        return tuple(_read(item, classes, origins, (*path, index)) for index, item in items)
    if not isinstance(value, Mapping):
        return value
    fields = {
        key: _read(item, classes, origins, (*path, key))
        for key, item in cast("Mapping[str, Any]", value).items()
    }
    name = fields.pop(TYPE, None)
    try:
        cls = (classes.get(name) or kind_of(name)) if isinstance(name, str) else None
        if cls is not None:
            _insist_on_fields(cls, fields, path)
            if origins is None or not issubclass(cls, Node):
                return cls(**fields)
            return cls(**fields, origin=origins(path, tuple(fields)))
    except BadDocument:
        raise
    except Refused as error:
        raise BadDocument((*path, error.field), error.problem) from error
    except (TypeError, ValueError) as error:
        raise BadDocument(path, str(error)) from error
    problem = "the field `type` is missing" if name is None else f"there is no type {name!r}"
    raise BadDocument(path, problem)


def _insist_on_fields(cls: type, fields: Mapping[str, Any], path: DocumentPath) -> None:
    """`BadDocument` for a field that there is not, and for one that has to be and is not."""
    known = {field.name: field for field in attrs.fields(cast(Any, cls)) if field.name != "origin"}
    for name in fields:
        if name not in known:
            words = f"`{type_name(cls)}` has no such field"
            raise BadDocument((*path, name), words, did_you_mean(name, known))
    for name, field in known.items():
        if field.default is attrs.NOTHING and name not in fields:
            raise BadDocument(path, f"the field `{name}` is missing")
