"""Checks one file: its text, its spec, and every mistake in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from mimodsl.checker.runner import check
from mimodsl.diagnostics import Diagnostic, Label, codes, in_order
from mimodsl.ir.spec import Spec
from mimodsl.lower import LoadedSpec, load_source
from mimodsl.lower.loading import is_document
from mimodsl.lower.spec_files import Read
from mimodsl.source import SourceFile
from mimodsl.syntax.reader import read_source

_MOST_SHOWN: Final = 200


@frozen(kw_only=True)
class CheckedFile:
    """The result of checking a file.

    `spec` is `None` for a file with errors and for a library. A library declares only what other
    specs may `use`, and may be incomplete. `loaded` is the result of reading, before the rules run.
    """

    source: SourceFile | None
    loaded: LoadedSpec
    spec: Spec | None
    is_library: bool
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> int:
        return sum(diagnostic.is_error for diagnostic in self.diagnostics)


def check_file(
    path: Path | None,
    source: SourceFile | Diagnostic,
    overrides: Mapping[str, str],
    *,
    allow_library: bool = True,
    read: Read = read_source,
) -> CheckedFile:
    """Check the text of a file; the diagnostics are in order of place.

    `source` is a diagnostic where the file could not be read. A caller that builds the spec does
    not allow a library. Text that is in no file has no path; `read` reads the files it uses.
    """
    loaded = load_source(source, path, overrides, read)
    diagnostics = in_order([*loaded.diagnostics, *check(loaded.spec or loaded.draft)])
    is_library = loaded.is_library and allow_library
    if path is not None and isinstance(source, SourceFile) and is_document(path, source):
        # Edits are written in the language, not in JSON.
        diagnostics = [evolve(diagnostic, edits=()) for diagnostic in diagnostics]
    if is_library:
        missing = codes.MISSING_DECLARATION.id
        diagnostics = [diagnostic for diagnostic in diagnostics if diagnostic.code != missing]
    has_errors = any(diagnostic.is_error for diagnostic in diagnostics)
    return CheckedFile(
        source=None if isinstance(source, Diagnostic) else source,
        loaded=loaded,
        spec=None if has_errors else loaded.spec,
        is_library=is_library,
        diagnostics=tuple(_limited(diagnostics)),
    )


def _limited(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """At most `_MOST_SHOWN` diagnostics, errors first, and one that counts the rest."""
    if len(diagnostics) <= _MOST_SHOWN:
        return diagnostics
    shown = sorted(diagnostics, key=lambda diagnostic: not diagnostic.is_error)[:_MOST_SHOWN]
    rest = Diagnostic(
        code=codes.TOO_MANY_MISTAKES.id,
        severity=shown[-1].severity,
        message=f"too many mistakes: {len(diagnostics) - _MOST_SHOWN:,} more are not shown",
        primary=Label(shown[-1].primary.where),
    )
    return [*in_order(shown), rest]
