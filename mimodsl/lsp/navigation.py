"""From a name to its declaration and its uses, and to another name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lsprotocol import types

from mimodsl.checker.file_check import CheckedFile
from mimodsl.lower.names import NAMED_KEYWORDS
from mimodsl.lsp.names import Occurrence, Symbol, at
from mimodsl.lsp.specs import Analysis
from mimodsl.resources import presets_folder
from mimodsl.source import Span
from mimodsl.syntax import ast

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Refused(ValueError):
    """What cannot be renamed, or not so."""


def definition(analysis: Analysis, position: types.Position) -> types.Location | None:
    """Where the name, the file or the shared axis at a position comes from."""
    offset = analysis.positions.offset(position)
    found = analysis.occurrence(offset)
    if found is not None:
        declared = analysis.declared(found.symbol)
        return analysis.specs.location(declared.span) if declared else None
    uses = analysis.main.file.declarations_of(ast.Use)
    for use, spec_file in zip(uses, analysis.main.used, strict=False):
        if use.path.span.start <= offset <= use.path.span.end:
            return analysis.specs.location(Span(spec_file.file.source, 0, 0))
    axis = _base_axis(analysis.main.file, offset)
    return analysis.specs.location(axis) if axis else None


def _base_axis(file: ast.File, offset: int) -> Span | None:
    """The axis of the base view that a shared one at an offset stands for."""
    for grid in file.declarations_of(ast.Grid):
        views = [field for field in grid.fields if isinstance(field, ast.View)]
        for view in views[1:]:
            shared = at(view.axes, lambda axis: axis.name.span, offset)
            if shared is not None and shared.size is None:
                base = (one.span for one in views[0].axes if one.name == shared.name)
                return next(base, None)
    return None


def references(
    analysis: Analysis, position: types.Position, *, declaration: bool
) -> list[types.Location]:
    """Every place that means what the name at a position means, in all specs that are open."""
    found = analysis.occurrence(analysis.positions.offset(position))
    if found is None:
        return []
    places = {
        (place.uri, place.range.start.line, place.range.start.character): place
        for one in _everywhere(analysis, found.symbol)
        if declaration or not one.declares
        for place in (analysis.specs.location(one.span),)
    }
    return list(places.values())


def highlights(analysis: Analysis, position: types.Position) -> list[types.DocumentHighlight]:
    """The places of this text that mean what the name at a position means."""
    found = analysis.occurrence(analysis.positions.offset(position))
    if found is None:
        return []
    kinds = types.DocumentHighlightKind
    return [
        types.DocumentHighlight(
            range=analysis.positions.of(one.span),
            kind=kinds.Write if one.declares else kinds.Read,
        )
        for one in analysis.occurrences(found.symbol)
        if one.span.file is analysis.source
    ]


def _everywhere(analysis: Analysis, symbol: Symbol) -> Iterator[Occurrence]:
    """The places of this spec and, for a name that other open specs use, too, of those."""
    declared = analysis.declared(symbol)
    yield from analysis.occurrences(symbol)
    for uri in analysis.specs.uris():
        other = analysis.specs.analysis(uri)
        its = other.declared(symbol) if other is not analysis and declared else None
        if declared and its and its.span.file.path and _same(declared.span, its.span):
            yield from other.occurrences(symbol)


def _same(one: Span, other: Span) -> bool:
    files = (Path(span.file.path).resolve() for span in (one, other))
    return one.start == other.start and len(set(files)) == 1


def renamable(analysis: Analysis, position: types.Position) -> types.Range:
    """The name at a position, where it may have another. Raises `Refused` where it may not."""
    return analysis.positions.of(_to_rename(analysis, position).span)


def _to_rename(analysis: Analysis, position: types.Position) -> Occurrence:
    found = analysis.occurrence(analysis.positions.offset(position))
    if found is None:
        raise Refused("no name of the spec stands here")
    declared = analysis.declared(found.symbol)
    if declared is None:
        raise Refused(f"`{found.symbol.name}` is not declared")
    shipped = presets_folder().resolve()
    if Path(declared.span.file.path).resolve().is_relative_to(shipped):
        raise Refused(f"`{found.symbol.name}` is a shipped preset's, which stays as it is")
    return found


def rename(analysis: Analysis, position: types.Position, name: str) -> types.WorkspaceEdit:
    """The edits that give the name at a position another, wherever it is used.

    Raises `Refused` for what is no name, and where the checker objects to the spec with it.
    """
    if not _NAME.fullmatch(name):
        raise Refused(f"`{name}` is no name: letters, digits and underscores make one")
    symbol = _to_rename(analysis, position).symbol
    _try(analysis, symbol, name)
    changes: dict[str, dict[tuple[int, int], types.TextEdit]] = {}
    for one in _everywhere(analysis, symbol):
        place = analysis.specs.location(one.span)
        key = place.range.start.line, place.range.start.character
        changes.setdefault(place.uri, {})[key] = types.TextEdit(place.range, name)
    return types.WorkspaceEdit(
        changes={uri: list(edits.values()) for uri, edits in changes.items()}
    )


def _try(analysis: Analysis, symbol: Symbol, name: str) -> None:
    """Raises `Refused` where another name would be a mistake in this text, or mean less in it."""
    before = analysis.checked
    places = [one.span for one in analysis.occurrences(symbol) if one.span.file is analysis.source]
    if Symbol(symbol.sort, name) != symbol and analysis.declared(Symbol(symbol.sort, name)):
        raise Refused(f"there is a {NAMED_KEYWORDS[symbol.sort]} `{name}` already")
    text = analysis.source.text
    for span in sorted(places, key=lambda span: span.start, reverse=True):
        text = text[: span.start] + name + text[span.end :]
    if len(places) < len(list(analysis.occurrences(symbol))):
        return  # other files change, too, and are not tried
    trial = analysis.trying(text)
    new = _errors(trial.checked) - _errors(before)
    if new:
        raise Refused(min(new)[1])
    if len(list(trial.occurrences(Symbol(symbol.sort, name)))) != len(places):
        raise Refused(f"`{name}` is a word of a field that `{symbol.name}` is the value of")


def _errors(found: CheckedFile) -> set[tuple[str, str]]:
    return {(one.code, one.message) for one in found.diagnostics if one.is_error}
