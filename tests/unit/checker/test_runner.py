"""The runner: a rule that fails says so itself, and silences no other."""

from typing import Any

import attrs
import pytest

from mimodsl.checker.context import Context
from mimodsl.checker.rule import Finding, Rule
from mimodsl.checker.rules import RULES, rule_of
from mimodsl.checker.runner import CRASH, check
from mimodsl.diagnostics import Severity
from mimodsl.lower import parse

BAD_GRID = """
grid llm {
  dense  = tp:2 * dp:4
  expert = ep:3 * edp:2 * pp
}
"""


def failing(spec: Context, subject: Any) -> list[Finding]:
    raise ZeroDivisionError("integer modulo by zero")


def test_a_rule_that_fails_is_named_and_others_still_run() -> None:
    draft = parse(BAD_GRID).draft
    broken = attrs.evolve(rule_of("MIMO302") or RULES[0], check=failing)
    others = [rule for rule in RULES if rule.code != "MIMO302"]
    crash, found = sorted(check(draft, [broken, *others]), key=lambda one: one.code != CRASH)
    assert crash.code == CRASH
    assert "MIMO302" in crash.message
    assert "ZeroDivisionError" in crash.message
    assert found.code == "MIMO301"


def test_diagnostics_have_the_severity_of_their_rule() -> None:
    mild = attrs.evolve(rule_of("MIMO301") or RULES[0], severity=Severity.WARNING)
    (found,) = check(parse(BAD_GRID).draft, [mild])
    assert found.severity is Severity.WARNING


def test_a_label_in_the_specs_own_file_comes_first() -> None:
    text = """
use "presets/nemotron_small.mimo"
grid llm {
  dense  = tp:1 * dp:4
  expert = ep:4 * pp
}
module language : nemotron_small {
  moe = { expert_bias = true, score = softmax }
}
train {
}
"""
    (found,) = check(parse(text).draft)
    assert found.code == "MIMO542"
    assert str(found.primary.where).startswith("<text>")


@pytest.mark.parametrize("code", ["MIMO301", "MIMO731"])
def test_rules_are_found_by_code(code: str) -> None:
    rule: Rule[Any] | None = rule_of(code)
    assert rule is not None
    assert rule.code == code
    assert rule_of("MIMO300") is None
