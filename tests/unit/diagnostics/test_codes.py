"""Every code is documented, and its example shows exactly it."""

import pytest

from mimodsl.diagnostics.codes import CODES, Code
from mimodsl.lower import parse

WITH_EXAMPLES = [code for code in CODES.values() if code.example is not None]


def test_codes_are_unique_and_of_the_families_without_rules() -> None:
    assert list(CODES) == sorted(CODES)
    assert all(code[:4] == "MIMO" and code[4] in "0129" and len(code) == 7 for code in CODES)


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.id)
def test_a_code_says_what_and_why(code: Code) -> None:
    assert code.title == code.title.strip()
    assert not code.title.endswith(".")
    assert code.why.endswith(".")


@pytest.mark.parametrize("code", WITH_EXAMPLES, ids=lambda code: code.id)
def test_an_example_has_one_mistake(code: Code) -> None:
    assert code.example is not None
    found = [one.code for one in parse(code.example, "specs/example.mimo").diagnostics]
    assert [one for one in found if one != "MIMO109"] == ([code.id] if code.id != "MIMO109" else [])
    assert code.id in found
