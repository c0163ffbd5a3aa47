"""The shipped file that a preset which is not declared must come from."""

from functools import cache

from mimodsl.diagnostics import Edit
from mimodsl.lower.units import PRESETS, Unit
from mimodsl.resources import presets_folder
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.parser import parse_source
from mimodsl.syntax.reader import read_source


def shipped_preset(name: ast.Name, unit: Unit) -> tuple[tuple[str, ...], tuple[Edit, ...]]:
    """A help line with the `use` that brings a preset in, and the edit that adds it.

    Both are empty where no shipped file declares it, or where the name is written elsewhere.
    """
    file = _files().get(name.text)
    if file is None or name.span.file is not unit.file.source:
        return (), ()
    use = f'use "{PRESETS}{file}"'
    uses = unit.file.declarations_of(ast.Use)
    start = uses[-1].span.end if uses else min(one.span.start for one in unit.file.declarations)
    text = f"\n{use}" if uses else f"{use}\n\n"
    edit = Edit(Span(name.span.file, start, start), text)
    return (f"the preset is shipped: `{use}` brings it in",), (edit,)


@cache
def _files() -> dict[str, str]:
    """The file of every shipped preset, by its name; read after a mistake only."""
    found: dict[str, str] = {}
    for path in sorted(presets_folder().glob("*.mimo")):
        source = read_source(path, str(path))
        assert isinstance(source, SourceFile)
        for preset in parse_source(source).file.declarations_of(ast.Preset):
            found.setdefault(preset.name.text, path.name)
    return found
