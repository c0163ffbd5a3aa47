"""Finds the shipped file that declares a preset which the spec uses but does not declare."""

from functools import cache

from mimodsl.diagnostics import Edit
from mimodsl.lower.spec_files import PRESETS, SpecFile
from mimodsl.resources import presets_folder
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.parser import parse_source
from mimodsl.syntax.reader import read_source


def shipped_preset(name: ast.Name, spec_file: SpecFile) -> tuple[tuple[str, ...], tuple[Edit, ...]]:
    """A help line with the `use` that adds a preset, and the edit that writes it.

    Both are empty if no shipped file declares the preset, or if the name is in another file.
    """
    file = _files_by_preset().get(name.text)
    if file is None or name.span.file is not spec_file.file.source:
        return (), ()
    use = f'use "{PRESETS}{file}"'
    uses = spec_file.file.declarations_of(ast.Use)
    start = (
        uses[-1].span.end
        if uses
        else min(declaration.span.start for declaration in spec_file.file.declarations)
    )
    text = f"\n{use}" if uses else f"{use}\n\n"
    edit = Edit(Span(name.span.file, start, start), text)
    return (f"`{use}` adds this shipped preset",), (edit,)


@cache
def _files_by_preset() -> dict[str, str]:
    """The file of each shipped preset, by its name; read only after a mistake."""
    file_names: dict[str, str] = {}
    for path in sorted(presets_folder().glob("*.mimo")):
        source = read_source(path, str(path))
        assert isinstance(source, SourceFile)
        for preset in parse_source(source).file.declarations_of(ast.Preset):
            file_names.setdefault(preset.name.text, path.name)
    return file_names
