"""Prints IR as `.mimo` text: with resolved names and values, without defaults, formatted.

Reading the text gives an equal spec, if its names are valid names of the language.
"""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, cast

from mimodsl.ir.flow import Flow
from mimodsl.ir.grid import Grid
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.placement import Placed
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.schema import schema
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Train
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import format_source

type Items = tuple[object, ...] | list[object]

_WORDS: Final = {None: "none", True: "true", False: "false"}


def print_spec(spec: Spec) -> str:
    """A spec as `.mimo` text."""
    text = "\n".join(_declarations(spec)) + "\n"
    return format_source(SourceFile("<printed>", text)).text or text


def print_value(value: object) -> str:
    """A constant as text: `true`, `[1, 2]`, `512x512`."""
    return _value(value, "")


def _declarations(spec: Spec) -> Iterator[str]:
    yield from map(_grid, spec.grids)
    if [spec.place] != [Placed(grid=grid.name) for grid in spec.grids]:
        yield f"place {spec.place}"
    yield from map(_module, spec.modules)
    yield from map(_flow, spec.flows)
    yield _schedule(spec.schedule)
    if spec.train != Train():
        yield f"train {_block(spec.train)}"


def _grid(grid: Grid) -> str:
    ranks = [] if grid.ranks is None else [f"ranks = {grid.ranks}"]
    views = [f"{view.name} = {view}" for view in grid.views]
    return f"grid {grid.name} {{ {', '.join(ranks + views)} }}"


def _module(module: Module) -> str:
    fields = [f"grid = {module.grid}"]
    if module.frozen:
        fields.append("frozen = true")
    fields += _fields(module.kind)
    return f"module {module.name} : {module.kind.keyword} {{ {', '.join(fields)} }}"


def _flow(flow: Flow) -> str:
    return f"flow {' -> '.join(flow.path)} {_block(flow, except_field='path')}"


def _schedule(schedule: Schedule) -> str:
    return f"schedule {schedule.kind} {_block(schedule, except_field='kind')}"


def _block(node: Node, except_field: str = "") -> str:
    return f"{{ {', '.join(_fields(node, except_field))} }}"


def _fields(node: Node, except_field: str = "") -> Iterator[str]:
    """`key = value` for every field that differs from its default, except for `except_field`."""
    for field in schema(type(node)):
        value = getattr(node, field.name)
        if field.name != except_field and (field.required or value != field.default):
            yield f"{field.name} = {_value(value, field.name)}"


def _value(value: object, name: str) -> str:
    if isinstance(value, Node):
        tag = getattr(value, "tag", name)
        return _block(value) if tag == name else f"{tag} {_block(value)}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_value(item, name) for item in cast(Items, value))}]"
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return _WORDS[value] if value is None or isinstance(value, bool) else str(value)
