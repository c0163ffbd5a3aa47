"""The JSON Schema of a spec's document, made from the IR classes."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, cast, get_type_hints

import attrs

from mimodsl.ir.kinds import Kind
from mimodsl.ir.node import KNOB, Knob
from mimodsl.ir.registry import installed_kinds
from mimodsl.ir.spec import Spec
from mimodsl.ir.types import FieldType, field_type
from mimodsl.lower.document import TYPE, VERSION, classes, type_name

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Final[Mapping[type, str]] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
}
_KIND: Final = "kind"
"""The name of the definition that any kind matches."""

type Schema = dict[str, Any]


def json_schema(kinds: Mapping[str, type[Kind]] | None = None) -> Schema:
    """The JSON Schema 2020-12 of the documents that `as_document` makes.

    The schema checks single values; `check` checks whether they fit together. Modules may be of the
    `kinds`; by default of all kinds, including those of installed packages.
    """
    kinds = installed_kinds() if kinds is None else kinds
    known: dict[str, type] = {**classes(), **kinds}
    defs: Schema = {name: _object(cls) for name, cls in known.items()}
    defs[_KIND] = {"anyOf": [{"$ref": f"#/$defs/{keyword}"} for keyword in kinds]}
    return {
        "$schema": DIALECT,
        "title": f"a mimodsl spec, version {VERSION}",
        "$ref": "#/$defs/spec",
        "$defs": dict(sorted(defs.items())),
    }


def _object(cls: type) -> Schema:
    fields = list(_fields(cls))
    properties: Schema = {TYPE: {"const": type_name(cls)}}
    required = [TYPE]
    if cls is Spec:
        properties |= {"$schema": {"type": "string"}, "version": {"const": VERSION}}
        required.append("version")
    properties |= {field.name: _field(cls, field) for field in fields}
    required += [field.name for field in fields if field.default is attrs.NOTHING]
    return {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split()),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _fields(cls: type) -> Iterator["attrs.Attribute[Any]"]:
    return (field for field in attrs.fields(cast(Any, cls)) if field.name != "origin")


def _field(cls: type, field: "attrs.Attribute[Any]") -> Schema:
    knob = cast("Knob | None", field.metadata.get(KNOB))
    value_schema = _type_schema(field_type(get_type_hints(cls)[field.name]), knob)
    words = f"{knob.doc} ({knob.unit})" if knob and knob.unit else knob.doc if knob else ""
    return {"description": words, **value_schema} if words else value_schema


def _type_schema(expected: FieldType, knob: Knob | None) -> Schema:
    options = [option for base in expected.bases for option in _options(base)]
    limits = dict(knob.constraint.json) if knob and knob.constraint else {}
    if not expected.many:
        options = [option | limits for option in options]
    item = options[0] if len(options) == 1 else {"anyOf": options}
    if expected.many:
        item = {"type": "array", "items": item} | limits
    return {"anyOf": [item, {"type": "null"}]} if expected.optional else item


def _options(base: type[Any]) -> Iterator[Schema]:
    """The schemas of one of the types of a field."""
    if base in _PLAIN:
        yield {"type": _PLAIN[base]}
    elif base is Kind:
        yield {"$ref": f"#/$defs/{_KIND}"}
    elif issubclass(base, StrEnum):
        yield {"enum": [str(member) for member in base]}
    else:
        yield {"$ref": f"#/$defs/{type_name(base)}"}
