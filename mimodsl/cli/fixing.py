"""`mimodsl check --fix`: makes the edits that diagnostics are sure of, file by file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from mimodsl.checker.file_check import CheckedFile, check_file
from mimodsl.checker.file_fixes import fix_all
from mimodsl.cli import files

_MARK: Final = "\ufeff"


@frozen(kw_only=True)
class Repair:
    """A file after its fixes: how many mistakes they end, and what changed."""

    count: int
    diff: str


def repaired(before: CheckedFile, path: Path, overrides: Mapping[str, str]) -> Repair:
    """Fix a file, whole or not at all."""
    repair = fix_all(before, lambda source: check_file(path, source, overrides))
    source, after = before.source, repair.after.source
    if source is None or after is None or repair.after is before:
        return Repair(count=0, diff="")
    text = files.read(path)
    if text.removeprefix(_MARK) != source.text:
        return Repair(count=0, diff="")  # someone else has just changed it
    mark = _MARK if text.startswith(_MARK) else ""
    files.replace(path, mark + after.text)
    changes = files.diff(source.path, source.text, after.text, "fixed")
    return Repair(count=repair.count, diff=changes)
