"""The program of a spec as the text of a function: the literals that a script is about."""

import ast
from collections.abc import Iterator
from typing import Any

from mimodsl.exporter.python.literals import text, written
from mimodsl.planner.program.names import Fields, Name
from mimodsl.planner.program.values import Modality, Part, Program

_SHARED = "shared"


def program_function(program: Program) -> tuple[str, tuple[Name, ...]]:
    """The function that returns the program, and the objects of other modules that it names.

    What the configs of all modules have in common stands there once.
    """
    parts = list(_parts(program))
    shared = _shared([part.config for part in parts]) if len(parts) > 1 else {}
    value = written(_with_shared(program, shared) if shared else program)
    lines = ['def program() -> "Program":', '    """What this script trains."""']
    names = value.names
    if shared:
        table = written(shared)
        names += table.names
        lines.append("    # Of the config of every module.")
        lines.append(f"    {_SHARED} = {text(table.tree, 4, 7 + len(_SHARED))}")
    lines.append(f"    return {text(value.tree, 4, 11)}")
    return "\n".join(lines), names


def _parts(program: Program) -> Iterator[Part]:
    for modality in program.modalities.values():
        yield modality.encoder
        if modality.projector is not None:
            yield modality.projector
    yield program.language


def _shared(configs: list[Fields]) -> Fields:
    first, *others = configs
    return {
        field: value
        for field, value in first.items()
        if all(field in other and other[field] == value for other in others)
    }


def _with_shared(program: Program, shared: Fields) -> Program:
    """The program with the fields of `shared` taken from the variable."""
    return program._replace(
        language=_short(program.language, shared),
        modalities={
            name: Modality(
                token=modality.token,
                encoder=_short(modality.encoder, shared),
                projector=modality.projector and _short(modality.projector, shared),
            )
            for name, modality in program.modalities.items()
        },
    )


def _short(part: Part, shared: Fields) -> Part:
    own: dict[Any, Any] = {
        field: value for field, value in part.config.items() if field not in shared
    }
    return part._replace(config={ast.Name(_SHARED): None} | own)
