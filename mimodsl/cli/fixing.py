"""`mimodsl check --fix`: applies the edits that diagnostics suggest, file by file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from mimodsl.checker.file_check import CheckedFile, check_file
from mimodsl.checker.file_fixes import fix_all
from mimodsl.cli import files

_BYTE_ORDER_MARK: Final = "\ufeff"


@frozen(kw_only=True)
class Repair:
    """The fixes of a file: how many mistakes they correct, and the diff."""

    count: int
    diff: str


def repaired(before: CheckedFile, path: Path, overrides: Mapping[str, str]) -> Repair:
    """Fix a file, completely or not at all."""
    repair = fix_all(before, lambda source: check_file(path, source, overrides))
    source, after = before.source, repair.after.source
    if source is None or after is None or repair.after is before:
        return Repair(count=0, diff="")
    text = files.read(path)
    if text.removeprefix(_BYTE_ORDER_MARK) != source.text:
        return Repair(count=0, diff="")  # someone else has just changed it
    mark = _BYTE_ORDER_MARK if text.startswith(_BYTE_ORDER_MARK) else ""
    files.replace(path, mark + after.text)
    changes = files.diff(source.path, source.text, after.text, "fixed")
    return Repair(count=repair.count, diff=changes)
