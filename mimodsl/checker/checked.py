"""Checks one file: what it says, whether it is a whole spec, and every mistake in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from mimodsl.checker.runner import check
from mimodsl.diagnostics import Diagnostic, Label, codes, in_order
from mimodsl.ir.spec import Spec
from mimodsl.lower import Loaded, load_source
from mimodsl.lower.entry import is_document
from mimodsl.lower.units import Read
from mimodsl.source import SourceFile
from mimodsl.syntax.reader import read_source

_MOST: Final = 200


@frozen(kw_only=True)
class Checked:
    """What came of a file. `spec` is `None` where it has errors, and for a library.

    A library declares only what other specs may `use`, and need not be whole. `loaded` is
    what was read, before it was checked.
    """

    source: SourceFile | None
    loaded: Loaded
    spec: Spec | None
    is_library: bool
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> int:
        return sum(one.is_error for one in self.diagnostics)


def checked(
    path: Path | None,
    source: SourceFile | Diagnostic,
    overrides: Mapping[str, str],
    *,
    whole: bool = False,
    read: Read = read_source,
) -> Checked:
    """Check what was read of a file; every diagnostic is in order of place.

    A `whole` spec is wanted where it is to be built: then nothing is a library. Text that lies
    nowhere has no path; `read` reads the files that it uses.
    """
    loaded = load_source(source, path, overrides, read)
    found = in_order([*loaded.diagnostics, *check(loaded.spec or loaded.draft)])
    is_library = loaded.is_library and not whole
    if path is not None and isinstance(source, SourceFile) and is_document(path, source):
        found = [evolve(one, edits=()) for one in found]  # which are in the language's own words
    if is_library:
        found = [one for one in found if one.code != codes.MISSING_DECLARATION.id]
    return Checked(
        source=None if isinstance(source, Diagnostic) else source,
        loaded=loaded,
        spec=_sound(loaded, found),
        is_library=is_library,
        diagnostics=tuple(_first(found)),
    )


def _sound(loaded: Loaded, found: list[Diagnostic]) -> Spec | None:
    return None if any(one.is_error for one in found) else loaded.spec


def _first(found: list[Diagnostic]) -> list[Diagnostic]:
    """As many as anyone reads, errors before warnings, with a last one that says so."""
    if len(found) <= _MOST:
        return found
    kept = sorted(found, key=lambda one: not one.is_error)[:_MOST]
    last = Diagnostic(
        code=codes.TOO_MANY_MISTAKES.id,
        severity=kept[-1].severity,
        message=f"too many mistakes: {len(found) - _MOST:,} more are not shown",
        primary=Label(kept[-1].primary.where),
    )
    return [*in_order(kept), last]
