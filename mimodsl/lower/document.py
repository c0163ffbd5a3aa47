"""Converts a spec to a plain document that JSON can hold, and back."""

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, cast

import attrs

from mimodsl.diagnostics.suggest import did_you_mean
from mimodsl.ir.blocks import Attention, Mamba, Moe
from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Axis, Grid, View
from mimodsl.ir.lr_decay import ConstantLr, CosineLr, InverseSquareRootLr, LinearLr, WsdLr
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node, Origin
from mimodsl.ir.placement import Beside, Placed, Together
from mimodsl.ir.registry import KINDS, kind_of
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import AdamW, Ddp, Train
from mimodsl.ir.types import Refused, Size
from mimodsl.lower.evaluate import FAILED, Failed

TYPE: Final = "type"
VERSION: Final = 1
"""The version of documents: it grows when a field changes its meaning or is removed."""
_NODES: Final[tuple[type, ...]] = (
    *(Spec, Grid, View, Axis, Placed, Beside, Together, Module, Flow, Schedule),
    *(Train, AdamW, Ddp, ConstantLr, LinearLr, CosineLr, InverseSquareRootLr, WsdLr),
    *(Attention, Mamba, Moe, Size),
)

type DocumentPath = tuple[str | int, ...]
"""Keys and indices that lead to a place in a document."""

type Origins = Callable[[DocumentPath, tuple[str, ...]], Origin]
"""Gives the origin of the node at a path, for the fields that the document sets."""


class BadDocument(ValueError):
    """A document that is not a valid spec: the path of the mistake, the mistake, and help."""

    def __init__(self, path: DocumentPath, message: str, help: tuple[str, ...] = ()) -> None:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        where = "".join(steps).removeprefix(".")
        super().__init__(f"{where}: {message}" if where else message)
        self.path, self.help = path, help


def as_document(spec: Spec) -> dict[str, Any]:
    """Every field of a spec by name, with defaults; `type` names the class of each object."""
    return {"version": VERSION} | _to_document(spec)


def as_text(spec: Spec) -> str:
    """The document of a spec as JSON text."""
    return json.dumps(as_document(spec), indent=2, ensure_ascii=False) + "\n"


def from_document(document: Any) -> Spec:
    """The spec of a document. Fields that are missing have their defaults.

    Raises `BadDocument` for a document that is not a valid spec.
    """

    def refuse(mistake: BadDocument) -> None:
        raise mistake

    spec = read_document(document, refuse)
    assert spec is not None
    return spec


def read_document(
    document: Any, report: Callable[[BadDocument], None], origins: Origins | None = None
) -> Spec | None:
    """Like `from_document`, but reports every mistake and then returns `None`.

    Of several wrong values in one object, only the first is reported. `origins` gives the places of
    nodes in a text.
    """
    if not isinstance(document, Mapping):
        report(BadDocument((), "the document is not a spec"))
        return None
    document = cast("Mapping[str, Any]", document)
    if document.get("version") != VERSION:
        place = ("version",) if "version" in document else ()
        words = f"the document has {_version(document)}, this mimodsl reads {VERSION}"
        report(BadDocument(place, words))
        return None
    fields = {key: value for key, value in document.items() if key not in ("version", "$schema")}
    try:
        spec = _Reader(classes=classes(), report=report, origins=origins).read(fields, ())
    except RecursionError:
        report(BadDocument((), "brackets are nested too deeply"))
        return None
    if not isinstance(spec, Spec | Failed):
        report(BadDocument((), "the document is not a spec"))
    return spec if isinstance(spec, Spec) else None


def _version(document: Mapping[str, Any]) -> str:
    return f"version {document['version']!r}" if "version" in document else "no version"


def classes() -> dict[str, type]:
    """The classes that an object of a document may have, by `type`."""
    kinds = {keyword: cast(type, kind) for keyword, kind in KINDS.items()}
    return kinds | {cls.__name__.lower(): cls for cls in _NODES}


def _to_document(value: object) -> Any:
    if isinstance(value, Node | Size):
        return {TYPE: type_name(type(value))} | {
            field: _to_document(getattr(value, field)) for field in _fields(type(value))
        }
    if isinstance(value, tuple):
        return [_to_document(item) for item in cast("tuple[object, ...]", value)]
    return str(value) if isinstance(value, StrEnum) else value


def type_name(cls: type) -> str:
    """The `type` of a class: a kind's keyword, else the class's name in small letters."""
    return getattr(cast(Any, cls), "keyword", cls.__name__.lower())


def _fields(cls: Any) -> Iterator[str]:
    return (field.name for field in attrs.fields(cls) if field.name != "origin")


@attrs.frozen(kw_only=True)
class _Reader:
    """Makes nodes from a document's objects; `FAILED` for an object with a mistake."""

    classes: Mapping[str, type]
    report: Callable[[BadDocument], None]
    origins: Origins | None

    def read(self, value: Any, path: DocumentPath) -> Any:
        if isinstance(value, list):
            pairs = enumerate(cast("list[Any]", value))
            items = tuple(self.read(item, (*path, index)) for index, item in pairs)
            return FAILED if FAILED in items else items
        if not isinstance(value, Mapping):
            return value
        pairs = cast("Mapping[str, Any]", value).items()
        fields = {key: self.read(item, (*path, key)) for key, item in pairs}
        try:
            cls = self._class(fields.pop(TYPE, None))
            if self._has_fields(cls, fields, path) and FAILED not in fields.values():
                return self._make_node(cls, fields, path)
        except Refused as error:
            self.report(BadDocument((*path, error.field), error.problem))
        except (TypeError, ValueError) as error:
            self.report(BadDocument(path, str(error)))
        return FAILED

    def _class(self, name: object) -> type:
        """The class of an object, by its `type`. Raises `ValueError` for an unknown type."""
        cls = (self.classes.get(name) or kind_of(name)) if isinstance(name, str) else None
        if cls is None:
            missing = "the field `type` is missing"
            raise ValueError(missing if name is None else f"there is no type {name!r}")
        return cls

    def _has_fields(self, cls: type, fields: Mapping[str, Any], path: DocumentPath) -> bool:
        """Whether the fields fit a class; reports every unknown or missing field."""
        attributes = attrs.fields(cast(Any, cls))
        known = {field.name: field for field in attributes if field.name != "origin"}
        unknown = [name for name in fields if name not in known]
        for name in unknown:
            words = f"`{type_name(cls)}` has no such field"
            self.report(BadDocument((*path, name), words, did_you_mean(name, known)))
        if unknown:  # a misspelt field would also seem to be missing
            return False
        missing = [
            name
            for name, field in known.items()
            if field.default is attrs.NOTHING and name not in fields
        ]
        for name in missing:
            self.report(BadDocument(path, f"the field `{name}` is missing"))
        return not missing

    def _make_node(self, cls: type, fields: Mapping[str, Any], path: DocumentPath) -> Any:
        if self.origins is None or not issubclass(cls, Node):
            return cls(**fields)
        return cls(**fields, origin=self.origins(path, tuple(fields)))
