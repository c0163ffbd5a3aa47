"""Every rule: its example breaks it and nothing else, and how that is shown."""

import re
from pathlib import Path
from typing import Any

import pytest

from mimodsl.checker.rule import Rule
from mimodsl.checker.rules import RULES
from mimodsl.checker.runner import check
from mimodsl.diagnostics.codes import CODES
from mimodsl.diagnostics.render import full
from mimodsl.lower import parse
from mimodsl.source import SourceFile
from mimodsl.syntax.formatter import format_source
from tests.golden.snapshot import matches_snapshot

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WITH_EXAMPLE = [rule for rule in RULES if rule.example]

# Lowering refuses these in text, so that only specs made in Python can break them: see
# tests/unit/checker/test_python_specs.py. The last needs a package: see tests/unit/test_kinds.py.
PYTHON_ONLY = {
    "MIMO304",
    "MIMO311",
    "MIMO312",
    "MIMO421",
    "MIMO422",
    "MIMO424",
    "MIMO559",
    "MIMO560",
}


@pytest.fixture(autouse=True)
def _paths_from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("rule", WITH_EXAMPLE, ids=lambda rule: rule.code)
def test_the_example_breaks_its_rule_alone(rule: Rule[Any]) -> None:
    loaded = parse(rule.example)
    # A fragment may lack a schedule; whatever it has is whole.
    assert {one.code for one in loaded.diagnostics} <= {"MIMO109"}
    assert {one.code for one in check(loaded.draft)} == {rule.code}


@pytest.mark.parametrize("rule", WITH_EXAMPLE, ids=lambda rule: rule.code)
def test_the_example_is_in_the_one_style(rule: Rule[Any]) -> None:
    assert format_source(SourceFile(rule.code, rule.example)).text == rule.example


@pytest.mark.parametrize("rule", WITH_EXAMPLE, ids=lambda rule: rule.code)
def test_the_example_is_shown_as_before(rule: Rule[Any]) -> None:
    shown = full.render(check(parse(rule.example).draft))
    matches_snapshot(shown, HERE / "rules" / f"{rule.code}.txt")


def test_every_rule_has_an_example_that_text_can_have() -> None:
    assert {rule.code for rule in RULES if not rule.example} == PYTHON_ONLY


def test_no_snapshot_outlives_its_rule() -> None:
    snapshots = {path.stem for path in (HERE / "rules").glob("*.txt")}
    assert snapshots == {rule.code for rule in WITH_EXAMPLE}


def test_codes_are_unique_and_in_their_range() -> None:
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & set(CODES)
    assert all(re.fullmatch(r"MIMO[3-7]\d\d", code) for code in codes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_explains_itself(rule: Rule[Any]) -> None:
    assert not rule.title.endswith(".")
    assert rule.explanation.endswith(".")
    assert all(re.fullmatch(r"[\w/]+\.py(:\d+|, \"[^\"]+\")", at) for at in rule.mirrors)


@pytest.mark.parametrize("rule", WITH_EXAMPLE, ids=lambda rule: rule.code)
def test_every_finding_says_what_to_do(rule: Rule[Any]) -> None:
    for diagnostic in check(parse(rule.example).draft):
        assert diagnostic.help, "a help line with the nearest legal change"
        assert all(line and not line.endswith(".") for line in diagnostic.help)
