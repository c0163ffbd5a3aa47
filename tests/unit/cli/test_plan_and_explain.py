"""`mimodsl plan` and `mimodsl explain` print what the plan and the codes say of themselves."""

import json

import pytest

from mimodsl.check.rules import RULES
from mimodsl.diagnostics.codes import CODES


def test_a_plan_for_the_eye(mimodsl, demo):
    ran = mimodsl("plan", demo)
    assert (ran.code, ran.err) == (0, "")
    assert "8 ranks" in ran.out
    assert "tp:2" in ran.out


def test_a_plan_of_one_rank(mimodsl, demo):
    assert "language" in mimodsl("plan", demo, "--rank", "7").out


def test_a_plan_for_programs(mimodsl, demo):
    assert json.loads(mimodsl("plan", demo, "--json").out)["summary"]["world"] == 8
    assert (
        json.loads(mimodsl("plan", demo, "--json", "--set", "replicas=4").out)["summary"]["world"]
        == 16
    )
    assert json.loads(mimodsl("plan", demo, "--json", "--rank", "5").out)["rank"] == 5


def test_mistakes_go_to_standard_error(mimodsl, broken):
    ran = mimodsl("plan", broken, "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "MIMO301" in ran.err


@pytest.mark.parametrize("code", [*CODES, *(rule.code for rule in RULES)])
def test_every_code_has_a_page(mimodsl, code):
    ran = mimodsl("explain", code.lower())
    assert ran.code == 0
    assert ran.out.startswith(f"{code}: ")
    assert len(ran.out.split()) > 5
