"""`mimodsl check --fix`: makes the edits that diagnostics are sure of, file by file."""

import difflib
from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen

from mimodsl.cli import files
from mimodsl.cli.checked import Checked, checked
from mimodsl.diagnostics import Diagnostic
from mimodsl.diagnostics.fixes import fixed
from mimodsl.source import SourceFile

_ROUNDS: Final = 10
_MARK: Final = "\ufeff"


@frozen(kw_only=True)
class Repair:
    """A file after its fixes: how many mistakes they end, what changed, and what is left."""

    count: int
    diff: str
    after: Checked


def repaired(before: Checked, overrides: Mapping[str, str]) -> Repair:
    """Fix a file, whole or not at all, and check it again.

    A fix may bring another mistake to light, and so this goes on while there are any.
    """
    count, now = 0, before
    for _ in range(_ROUNDS):
        better = _round(now, overrides)
        if better is None:
            break
        count, now = count + better.count, better.after
    if before.source is None or now.source is None or now is before:
        return Repair(count=0, diff="", after=before)
    text = files.read(before.path)
    if text.removeprefix(_MARK) != before.source.text:
        return Repair(count=0, diff="", after=before)  # someone else has just changed it
    mark = _MARK if text.startswith(_MARK) else ""
    files.replace(before.path, mark + now.source.text)
    return Repair(count=count, diff=diff(before.source, now.source.text), after=now)


def _round(now: Checked, overrides: Mapping[str, str]) -> Repair | None:
    """The file with all fixes made that are known at once.

    Those that do not end their mistake are left out; `None` where no other is known.
    """
    wanted = [one for one in now.diagnostics if one.edits]
    while wanted and now.source is not None:
        tried = fixed(now.source, wanted)
        if tried.count == 0:
            break
        after = checked(now.path, evolve(now.source, text=tried.text), overrides)
        stay = {_what(one) for one in after.diagnostics}
        lasting = [one for one in wanted if _what(one) not in stay]
        if len(lasting) == len(wanted):
            return Repair(count=tried.count, diff="", after=after)
        wanted = lasting
    return None


def _what(one: Diagnostic) -> tuple[str, str]:
    return one.code, one.message


def diff(before: SourceFile, text: str) -> str:
    """What changes in a file, as a unified diff."""
    old, new = before.text.splitlines(keepends=True), text.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, before.path, f"{before.path} fixed")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
