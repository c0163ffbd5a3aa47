"""The matrix on real ranks: every layout has the losses and gradients of one rank."""

import pytest

import mimodsl
from tests.e2e.matrix import LAYOUTS, REFUSALS, SUBSTRATE, Refused, Trained
from tests.e2e.training import References, assert_same, train


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(lambda: tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("case", [*SUBSTRATE, *LAYOUTS], ids=str)
def test_a_layout_trains_as_one_rank(case: Trained, references: References) -> None:
    expected = references(case.spec)
    steps = train(case.spec, expected)
    assert_same(steps, expected)
    assert steps[-1]["loss"] < steps[0]["loss"]


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_the_checker_says_what_megatron_cannot_do(case: Refused) -> None:
    assert [diagnostic.code for diagnostic in mimodsl.check(case.spec)] == [case.code]
