"""Navigation: from a name to its declaration and uses, and renaming it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lsprotocol import types

from mimodsl.checker.file_check import CheckedFile
from mimodsl.lower.names import NAMED_KEYWORDS
from mimodsl.lsp.names import Occurrence, Symbol, covering
from mimodsl.lsp.specs import Analysis
from mimodsl.resources import presets_folder
from mimodsl.source import Span
from mimodsl.syntax import ast

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RenameRefused(ValueError):
    """A name that cannot be renamed, or not to this new name."""


def definition(analysis: Analysis, position: types.Position) -> types.Location | None:
    """The declaration of the name, file or shared axis at a position."""
    offset = analysis.positions.offset(position)
    occurrence = analysis.occurrence(offset)
    if occurrence is not None:
        declared = analysis.declared(occurrence.symbol)
        return analysis.specs.location(declared.span) if declared else None
    uses = analysis.main.file.declarations_of(ast.Use)
    for use, spec_file in zip(uses, analysis.main.used, strict=False):
        if use.path.span.start <= offset <= use.path.span.end:
            return analysis.specs.location(Span(spec_file.file.source, 0, 0))
    axis = _base_axis(analysis.main.file, offset)
    return analysis.specs.location(axis) if axis else None


def _base_axis(file: ast.File, offset: int) -> Span | None:
    """The axis of the base view that a shared axis at an offset refers to."""
    for grid in file.declarations_of(ast.Grid):
        views = [field for field in grid.fields if isinstance(field, ast.View)]
        for view in views[1:]:
            shared = covering(view.axes, lambda axis: axis.name.span, offset)
            if shared is not None and shared.size is None:
                base = (axis.span for axis in views[0].axes if axis.name == shared.name)
                return next(base, None)
    return None


def references(
    analysis: Analysis, position: types.Position, *, declaration: bool
) -> list[types.Location]:
    """Every place that refers to the name at a position, in all open specs."""
    occurrence = analysis.occurrence(analysis.positions.offset(position))
    if occurrence is None:
        return []
    places = {
        (place.uri, place.range.start.line, place.range.start.character): place
        for reference in _all_occurrences(analysis, occurrence.symbol)
        if declaration or not reference.declares
        for place in (analysis.specs.location(reference.span),)
    }
    return list(places.values())


def highlights(analysis: Analysis, position: types.Position) -> list[types.DocumentHighlight]:
    """The places of this text that refer to the name at a position."""
    occurrence = analysis.occurrence(analysis.positions.offset(position))
    if occurrence is None:
        return []
    kinds = types.DocumentHighlightKind
    return [
        types.DocumentHighlight(
            range=analysis.positions.of(reference.span),
            kind=kinds.Write if reference.declares else kinds.Read,
        )
        for reference in analysis.occurrences(occurrence.symbol)
        if reference.span.file is analysis.source
    ]


def _all_occurrences(analysis: Analysis, symbol: Symbol) -> Iterator[Occurrence]:
    """The occurrences in this spec and in other open specs with the same declaration."""
    declared = analysis.declared(symbol)
    yield from analysis.occurrences(symbol)
    for uri in analysis.specs.uris():
        other = analysis.specs.analysis(uri)
        other_declared = other.declared(symbol) if other is not analysis and declared else None
        if (
            declared
            and other_declared
            and other_declared.span.file.path
            and _same_place(declared.span, other_declared.span)
        ):
            yield from other.occurrences(symbol)


def _same_place(first: Span, second: Span) -> bool:
    files = (Path(span.file.path).resolve() for span in (first, second))
    return first.start == second.start and len(set(files)) == 1


def renamable(analysis: Analysis, position: types.Position) -> types.Range:
    """The range of the name at a position. Raises `RenameRefused` if it cannot be renamed."""
    return analysis.positions.of(_to_rename(analysis, position).span)


def _to_rename(analysis: Analysis, position: types.Position) -> Occurrence:
    occurrence = analysis.occurrence(analysis.positions.offset(position))
    if occurrence is None:
        raise RenameRefused("there is no name here that can change")
    declared = analysis.declared(occurrence.symbol)
    if declared is None:
        raise RenameRefused(f"`{occurrence.symbol.name}` is not declared")
    shipped = presets_folder().resolve()
    if Path(declared.span.file.path).resolve().is_relative_to(shipped):
        raise RenameRefused(
            f"`{occurrence.symbol.name}` belongs to a shipped preset, which cannot change"
        )
    return occurrence


def rename(analysis: Analysis, position: types.Position, name: str) -> types.WorkspaceEdit:
    """The edits that rename the name at a position everywhere.

    Raises `RenameRefused` for an invalid name, and if the new name causes an error.
    """
    if not _NAME.fullmatch(name):
        raise RenameRefused(f"`{name}` is not a name: use only letters, digits and underscores")
    symbol = _to_rename(analysis, position).symbol
    _try(analysis, symbol, name)
    changes: dict[str, dict[tuple[int, int], types.TextEdit]] = {}
    for reference in _all_occurrences(analysis, symbol):
        place = analysis.specs.location(reference.span)
        key = place.range.start.line, place.range.start.character
        changes.setdefault(place.uri, {})[key] = types.TextEdit(place.range, name)
    return types.WorkspaceEdit(
        changes={uri: list(edits.values()) for uri, edits in changes.items()}
    )


def _try(analysis: Analysis, symbol: Symbol, name: str) -> None:
    """Raises `RenameRefused` if the new name causes an error in this text, or hides uses."""
    before = analysis.checked
    places = [
        reference.span
        for reference in analysis.occurrences(symbol)
        if reference.span.file is analysis.source
    ]
    if Symbol(symbol.sort, name) != symbol and analysis.declared(Symbol(symbol.sort, name)):
        raise RenameRefused(f"there is a {NAMED_KEYWORDS[symbol.sort]} `{name}` already")
    text = analysis.source.text
    for span in sorted(places, key=lambda span: span.start, reverse=True):
        text = text[: span.start] + name + text[span.end :]
    if len(places) < len(list(analysis.occurrences(symbol))):
        return  # other files change, too, and are not checked
    trial = analysis.trying(text)
    new = _errors(trial.checked) - _errors(before)
    if new:
        raise RenameRefused(min(new)[1])
    if len(list(trial.occurrences(Symbol(symbol.sort, name)))) != len(places):
        raise RenameRefused(
            f"`{name}` is a choice of a field that has `{symbol.name}` as its value"
        )


def _errors(checked: CheckedFile) -> set[tuple[str, str]]:
    return {
        (diagnostic.code, diagnostic.message)
        for diagnostic in checked.diagnostics
        if diagnostic.is_error
    }
