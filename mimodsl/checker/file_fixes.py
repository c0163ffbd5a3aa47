"""Applies the fixes of a file's diagnostics, and checks that each fix removes its mistake."""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import evolve, frozen

from mimodsl.checker.file_check import CheckedFile
from mimodsl.diagnostics import Diagnostic
from mimodsl.diagnostics.edits import apply_edits
from mimodsl.source import SourceFile

type Recheck = Callable[[SourceFile], CheckedFile]
"""Checks another text of a file with the same options."""

_MOST_ROUNDS: Final = 10


@frozen(kw_only=True)
class FixedFile:
    """A file after its fixes, and the number of mistakes that they removed."""

    count: int
    after: CheckedFile


def fix_all(before: CheckedFile, recheck: Recheck) -> FixedFile:
    """Apply all fixes of a file.

    A fix may reveal another mistake, so this repeats until no fix helps.
    """
    count, current = 0, before
    for _ in range(_MOST_ROUNDS):
        fixed = fix_once(current, current.diagnostics, recheck)
        if fixed is None:
            break
        count, current = count + fixed.count, fixed.after
    return FixedFile(count=count, after=current)


def fix_once(
    current: CheckedFile, diagnostics: Sequence[Diagnostic], recheck: Recheck
) -> FixedFile | None:
    """Apply the fixes of some diagnostics together; `None` where no fix helps.

    A fix that does not remove its mistake is left out.
    """
    candidates = [diagnostic for diagnostic in diagnostics if diagnostic.edits]
    while candidates and current.source is not None:
        edited = apply_edits(current.source, candidates)
        if edited.count == 0:
            break
        after = recheck(evolve(current.source, text=edited.text))
        remaining = {_identity(diagnostic) for diagnostic in after.diagnostics}
        effective = [one for one in candidates if _identity(one) not in remaining]
        if len(effective) == len(candidates):
            return FixedFile(count=edited.count, after=after)
        candidates = effective
    return None


def _identity(diagnostic: Diagnostic) -> tuple[str, str]:
    """What a diagnostic keeps when the text around it changes."""
    return diagnostic.code, diagnostic.message
