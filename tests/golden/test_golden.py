"""Whole specs with the diagnostics that they say they have, line by line, and how they look."""

import re
from collections import Counter
from pathlib import Path

import pytest

from mimodsl.checker.runner import check
from mimodsl.diagnostics import Diagnostic, in_order
from mimodsl.diagnostics.render import full
from mimodsl.lower import load
from mimodsl.source import Span
from tests.golden.snapshot import matches_snapshot

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OK = sorted((HERE / "ok").glob("*.mimo"))
ERR = sorted((HERE / "err").glob("*.mimo"))
SHIPPED = sorted((ROOT / "specs").glob("*.mimo"))

EXPECTED = re.compile(r"(error|warning): ((?:\[MIMO\d{3}\] ?)+)")


@pytest.fixture(autouse=True)
def _paths_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def diagnose(path: Path) -> list[Diagnostic]:
    loaded = load(path.relative_to(ROOT))
    return in_order([*loaded.diagnostics, *check(loaded.draft)])


def expected_in(path: Path) -> Counter[tuple[int, str, str]]:
    """Line, severity and code of every `# error: [MIMO301]` in a spec."""
    return Counter(
        (number, severity, code)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for severity, codes in EXPECTED.findall(line.partition("#")[2])
        for code in re.findall(r"MIMO\d{3}", codes)
    )


def line_of(diagnostic: Diagnostic, path: Path) -> int:
    where = diagnostic.primary.where
    assert isinstance(where, Span), f"{diagnostic.code} has no place in the text"
    assert where.file.path == str(path.relative_to(ROOT)), f"{diagnostic.code} is elsewhere"
    return where.line


@pytest.mark.parametrize("path", [*OK, *SHIPPED], ids=lambda path: path.stem)
def test_sound_specs_have_no_diagnostics(path: Path) -> None:
    assert full.render(diagnose(path)) == ""


@pytest.mark.parametrize("path", ERR, ids=lambda path: path.stem)
def test_mistakes_are_found_where_the_spec_says(path: Path) -> None:
    found = Counter((line_of(one, path), str(one.severity), one.code) for one in diagnose(path))
    expected = expected_in(path)
    assert expected, "a spec in err/ says which mistakes it has"
    assert found == expected


@pytest.mark.parametrize("path", ERR, ids=lambda path: path.stem)
def test_mistakes_are_shown_as_before(path: Path) -> None:
    matches_snapshot(full.render(diagnose(path)), path.with_suffix(".full.txt"))
