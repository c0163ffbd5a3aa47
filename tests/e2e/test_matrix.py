"""The matrix on real ranks: every layout has the losses and gradients of one rank."""

from importlib import import_module

import pytest

import mimodsl
from tests.e2e.matrix import (
    CASES,
    LAYOUTS,
    REFUSALS,
    ROOT,
    SUBSTRATE,
    Refused,
    Separate,
    Trained,
)
from tests.e2e.training import References, assert_same, train


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(lambda: tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("case", [*SUBSTRATE, *LAYOUTS], ids=str)
def test_a_layout_trains_as_one_rank(case: Trained, references: References) -> None:
    assert case.spec.world == 8
    expected = references(case.spec)
    steps = train(case.spec, expected)
    assert_same(steps, expected)
    assert steps[-1]["loss"] < steps[0]["loss"]


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_the_checker_says_what_megatron_cannot_do(case: Refused) -> None:
    assert [diagnostic.code for diagnostic in mimodsl.check(case.spec)] == [case.status]


def test_the_table_names_tests_and_specs_that_exist() -> None:
    assert [case.number for case in CASES if getattr(case, "number", None)] == list(range(1, 12))
    for case in CASES:
        if isinstance(case, Separate):
            module = import_module(case.shown.removesuffix(".py").replace("/", "."))
            assert callable(getattr(module, case.test))
        elif case.shown.endswith(".mimo"):
            assert mimodsl.load(ROOT / case.shown) == case.spec
