"""Every correction of megatron-core says what it corrects, why, and what would let it go."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "mimodsl" / "megatron"
HEADINGS = ("Megatron does", "Why it hurts", "Goes when")
NO_CORRECTION = {"patch.py"}
"""Files that corrections share."""

FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__init__.py" and path.name not in NO_CORRECTION
]


def sections(docstring: str) -> dict[str, str]:
    """The headings of a docstring, in order, with the words behind each."""
    parts = re.split(rf"^({'|'.join(HEADINGS)}): ", docstring, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_correction_says_why_it_is_there(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = sections(docstring)
    assert tuple(found) == HEADINGS
    assert all(words.strip().split("\n\n")[0].endswith(".") for words in found.values())


def test_a_heading_that_is_missing_or_moved_is_seen() -> None:
    assert tuple(sections("A.\n\nMegatron does: x.\nGoes when: y.\nWhy it hurts: z.")) != HEADINGS
    assert tuple(sections("A.\n\nMegatron does: x.\nWhy it hurts: z.")) != HEADINGS


def test_the_package_explains_the_headings() -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")))
    assert tuple(sections(docstring or "")) == HEADINGS
