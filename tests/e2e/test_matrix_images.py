"""Samples that show different numbers of images, and microbatches that show none."""

import attrs
import pytest

from mimodsl.builder.assembly import assemble
from mimodsl.ir import Attention, Beside, Flow, Spec, Together
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds
from tests.e2e.matrix import (
    GPT_MOE_VLM,
    HALVES,
    NEMOTRON,
    laid_out,
    shipped,
    with_language,
)
from tests.e2e.training import References, assert_same, train


class Uneven(SyntheticData):
    """Samples with none to as many images as their flow says."""

    def count(self, flow: Flow, step: int, index: int) -> int:
        return (index + step) % (flow.images + 1)


class TextFirst(SyntheticData):
    """Steps that begin with text alone; in the second there is nothing else."""

    def count(self, flow: Flow, step: int, index: int) -> int:
        return 0 if step or index < 4 else flow.images


def with_images(spec: Spec, images: int) -> Spec:
    (flow,) = spec.flows
    return attrs.evolve(spec, flows=(attrs.evolve(flow, images=images),))


THREE = with_images(NEMOTRON, 3)
UNEVEN = {
    "non-colocated": laid_out(THREE, Beside, **HALVES, micro_batch=2),
    "non-colocated, fan-out": laid_out(
        THREE,
        Beside,
        encoder={"tp": 4},
        dense={"tp": 2, "dp": 2},
        expert={"ep": 4},
        micro_batch=2,
    ),
    "colocated": laid_out(
        THREE,
        Together,
        encoder={"tp": 2, "dp": 4},
        dense={"tp": 2, "dp": 4},
        expert={"ep": 2, "edp": 4},
    ),
}
SMALL = with_language(GPT_MOE_VLM, attention=Attention(heads=4))
TEXT_FIRST = {
    "non-colocated": NEMOTRON,
    "non-colocated, fan-in and language pp": shipped("nemotron_vlm_pp"),
    "colocated, fan-in": laid_out(
        SMALL,
        Together,
        encoder={"tp": 2, "dp": 4},
        dense={"tp": 4, "dp": 2},
        expert={"ep": 8},
        micro_batch=2,
    ),
    "colocated, fan-out": laid_out(
        SMALL,
        Together,
        encoder={"tp": 4, "dp": 2},
        dense={"tp": 2, "dp": 4},
        expert={"ep": 8},
    ),
}


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(lambda: tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("spec", UNEVEN.values(), ids=UNEVEN)
def test_samples_may_show_different_numbers_of_images(spec: Spec, references: References) -> None:
    expected = references(spec, Uneven)
    assert_same(train(spec, expected, Uneven), expected)


@pytest.mark.parametrize("spec", TEXT_FIRST.values(), ids=TEXT_FIRST)
def test_a_microbatch_may_show_no_image(spec: Spec, references: References) -> None:
    expected = references(spec, TextFirst)
    steps = train(spec, expected, TextFirst)
    assert_same(steps, expected)
    assert [bool(step["vision"]) for step in steps] == [True, False]


def test_fan_in_of_different_numbers_is_refused_before_anything_hangs() -> None:
    spec = with_images(shipped("nemotron_vlm_pp"), 3)
    with pytest.raises(worlds.RankFailed, match="replicas of it feed 1 of the language model"):
        worlds.run(spec.world, _uneven_step, spec)


def _uneven_step(spec: Spec) -> None:
    with no_parallel_state():
        assembly = assemble(spec)
        assembly.train_step(microbatches(Uneven(spec=spec), 0, assembly.process_groups))
