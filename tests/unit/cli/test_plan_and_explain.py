"""`mimodsl plan` and `mimodsl explain` print what the plan and the codes say of themselves."""

import json
import re

import pytest

from mimodsl._version import MEGATRON_CORE
from mimodsl.checker.rules import RULES
from mimodsl.diagnostics.codes import CODES
from mimodsl.show import pages


def test_a_plan_for_the_eye(mimodsl, demo):
    ran = mimodsl("plan", demo)
    assert (ran.code, ran.err) == (0, "")
    assert "8 ranks" in ran.out
    assert "tp:2" in ran.out


def test_a_plan_of_standard_input(mimodsl, demo):
    assert mimodsl("plan", "-", given=demo.read_bytes()) == mimodsl("plan", demo)


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


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.example], ids=lambda r: r.code)
def test_a_page_shows_the_example_and_what_is_said_of_it(mimodsl, rule):
    shown = mimodsl("explain", rule.code).out
    assert rule.example.splitlines()[0] in shown
    assert f"[{rule.code}]: " in shown
    assert "= help: " in shown
    assert ("On the cluster:" in shown) == bool(rule.seen)


def test_a_page_is_plain_off_a_terminal_and_in_colour_on_one(mimodsl):
    assert "\x1b" not in mimodsl("explain", "MIMO301").out
    page = pages.pages()["MIMO301"]
    coloured = pages.text(page, color=True)
    assert coloured.startswith("\x1b[1mMIMO301: ")
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == pages.text(page)


def test_all_codes_are_listed_without_one(mimodsl):
    lines = mimodsl("explain").out.splitlines()
    assert [line.split()[0] for line in lines] == list(pages.pages())
    assert {*CODES, *(rule.code for rule in RULES)} <= set(pages.pages())


def test_a_page_for_programs(mimodsl):
    page = json.loads(mimodsl("explain", "MIMO301", "--json").out)
    assert page["code"] == "MIMO301"
    assert page["help"] == ["`ep:4` gives both 8 ranks, and so does `edp:4` with `ep:2`"]
    assert page["megatron"] == {
        "version": MEGATRON_CORE,
        "at": ['hyper_comm_grid.py, "if int(np.prod(shape)) != self.size"'],
    }
    codes = json.loads(mimodsl("explain", "--json").out)
    assert [code["code"] for code in codes] == list(pages.pages())


@pytest.mark.parametrize(
    ("code", "hint"),
    [("MIM0301", "did you mean MIMO301?"), ("nonsense", "without a code, explain lists all")],
)
def test_an_unknown_code_has_a_hint(mimodsl, code, hint):
    ran = mimodsl("explain", code)
    assert (ran.code, ran.out) == (2, "")
    assert hint in ran.err
