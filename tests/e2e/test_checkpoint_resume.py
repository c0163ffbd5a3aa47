"""A run that is broken off and goes on: to the bit where it was, and in any other layout."""

from pathlib import Path

import attrs
import pytest

from mimodsl.builder.assembly import assemble
from mimodsl.ir import (
    Attention,
    Beside,
    CosineLr,
    Ddp,
    Gpt,
    Grid,
    Kind,
    Module,
    Precision,
    Spec,
    Together,
)
from mimodsl.runtime.checkpoint.folder import find
from mimodsl.runtime.checkpoint.loading import restored_modules
from mimodsl.runtime.checkpoint.weights import load_weights
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds
from tests.e2e.checkpoints import (
    COLOCATED,
    ONE_RANK,
    curve,
    layout,
    trained,
    with_kind,
    with_training,
)

TP_EP = layout(Beside, {"tp": 2}, {"tp": 2}, {"ep": 2})
PIPELINE = layout(Beside, {"dp": 1}, {"pp": 2}, {"edp": 1}, pattern="MEM|*EM")
OVERLAP = Ddp(overlap_grad_reduce=True, overlap_param_gather=True, bucket=1000)
DROPOUT = Gpt(
    hidden=64,
    vocabulary=512,
    layers=2,
    attention=Attention(heads=4),
    dropout=0.1,
    attention_dropout=0.1,
)


def _language_alone(kind: Kind, views: dict[str, dict[str, int | None]]) -> Spec:
    return attrs.evolve(
        ONE_RANK,
        grids=(Grid(name="all", views=views),),
        place="all",
        modules=(Module(name="text_model", grid="all", kind=kind),),
        flows=(),
    )


SAME_LAYOUT = {
    "colocated": COLOCATED,
    "language pipeline": with_training(PIPELINE, lr_decay=CosineLr(steps=4, warmup=1)),
    "bf16, overlapped": with_training(COLOCATED, precision=Precision.BF16, ddp=OVERLAP),
    "frozen encoder": attrs.evolve(
        ONE_RANK,
        modules=[attrs.evolve(one, frozen=one.name == "vision") for one in ONE_RANK.modules],
    ),
    "dropout": _language_alone(DROPOUT, {"dense": {"tp": 2}}),
    "context parallel": _language_alone(
        attrs.evolve(ONE_RANK.language.kind, pattern="MEM-"),
        {"dense": {"cp": 2}, "expert": {"edp": 2, "pp": None}},
    ),
}
OTHER_LAYOUTS = {
    "colocated, tp, ep": COLOCATED,
    "colocated, dp": layout(Together, {"tp": 2}, {"dp": 2}, {"ep": 2}),
    "non-colocated, tp, ep": TP_EP,
    "non-colocated, fan-out, etp": layout(Beside, {"dp": 1}, {"tp": 2}, {"etp": 2}),
    "language pipeline": PIPELINE,
    "colocated, several buckets": with_training(COLOCATED, ddp=OVERLAP),
}


@pytest.mark.parametrize("spec", SAME_LAYOUT.values(), ids=SAME_LAYOUT)
def test_a_run_goes_on_to_the_bit(spec: Spec, tmp_path: Path) -> None:
    straight = trained(spec, 4)
    first = trained(spec, 2, save=tmp_path)
    second = trained(spec, 2, start=tmp_path)
    assert curve(first + second) == curve(straight)
    assert len({step.loss for step in straight}) == 4


@pytest.fixture(scope="module")
def reference() -> list[float]:
    """The curve of one rank: loss and gradient norm of steps 3 to 5."""
    return _flat(trained(ONE_RANK, 5)[2:])


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of that curve after two steps."""
    folder = tmp_path_factory.mktemp("one-rank")
    trained(ONE_RANK, 2, save=folder)
    return folder


@pytest.mark.parametrize("spec", OTHER_LAYOUTS.values(), ids=OTHER_LAYOUTS)
def test_another_layout_goes_on_with_the_curve_and_back(
    spec: Spec, one_rank: Path, reference: list[float], tmp_path: Path
) -> None:
    there = trained(spec, 2, start=one_rank, save=tmp_path)
    back = trained(ONE_RANK, 1, start=tmp_path)
    assert [step.step for step in there + back] == [3, 4, 5]
    assert _flat(there + back) == pytest.approx(reference, rel=2e-4)


def test_the_curve_needs_the_optimizer_state(one_rank: Path, reference: list[float]) -> None:
    """Else the tests above would not see it missing."""
    (weights_alone,) = worlds.run(1, _from_weights_alone, find(one_rank).folder)
    assert weights_alone[0] == pytest.approx(reference[0], rel=1e-6)
    assert weights_alone[1] != pytest.approx(reference[2], rel=1e-2)


def _from_weights_alone(folder: Path) -> list[float]:
    assembly = assemble(ONE_RANK)
    load_weights(assembly, folder)
    data = SyntheticData(spec=ONE_RANK)
    steps = (list(microbatches(data, step, assembly.process_groups)) for step in (2, 3))
    return [assembly.train_step(step).loss for step in steps]


def test_another_precision_and_learning_rate_are_those_of_the_spec(
    one_rank: Path, reference: list[float]
) -> None:
    optimizer = attrs.evolve(ONE_RANK.train.optimizer, lr=1e-5)
    steps = trained(with_training(ONE_RANK, optimizer=optimizer), 2, start=one_rank)
    assert steps[0].loss == pytest.approx(reference[0], rel=1e-6)
    assert steps[1].loss != pytest.approx(reference[2], rel=1e-2)
    bf16 = trained(with_training(ONE_RANK, precision=Precision.BF16), 1, start=one_rank)
    assert bf16[0].loss == pytest.approx(reference[0], rel=2e-2)


def test_a_module_that_was_frozen_starts_its_optimizer_anew(tmp_path: Path) -> None:
    frozen = SAME_LAYOUT["frozen encoder"]
    trained(frozen, 1, save=tmp_path)
    assert find(tmp_path).manifest.updates == {"language": 1, "vision": 1}
    assert restored_modules(frozen, find(tmp_path).manifest) == {"language", "vision"}
    assert restored_modules(ONE_RANK, find(tmp_path).manifest) == {"language"}
    steps = trained(ONE_RANK, 1, start=tmp_path)
    assert steps[0].loss == pytest.approx(trained(frozen, 1, start=tmp_path)[0].loss)


def test_zero_steps_turn_a_checkpoint_into_one_of_another_layout(tmp_path: Path) -> None:
    """Nothing is lost on the way there and back, bf16 and fp32 weights side by side included."""
    one, two = (with_training(spec, precision=Precision.BF16) for spec in (ONE_RANK, TP_EP))
    begin, there, back = (tmp_path / name for name in ("begin", "there", "back"))
    trained(one, 2, save=begin)
    assert trained(two, 0, start=begin, save=there) == ()
    assert find(there).manifest.step == 2
    assert find(there).manifest.spec == two
    trained(one, 0, start=there, save=back)
    assert curve(trained(one, 2, start=back)) == curve(trained(one, 2, start=begin))


def test_weights_without_any_step_can_be_saved(tmp_path: Path) -> None:
    trained(ONE_RANK, 0, save=tmp_path)
    assert find(tmp_path).manifest.updates == {"language": 0, "vision": 0}
    assert curve(trained(ONE_RANK, 1, start=tmp_path)) == curve(trained(ONE_RANK, 1))


def test_a_checkpoint_of_another_kind_of_model_is_refused_by_its_first_key(
    one_rank: Path,
) -> None:
    """Of what specs can't tell: here the checkpoint is given to the ranks unasked."""
    wider = with_kind(ONE_RANK, "projector", ffn=96)
    with pytest.raises(worlds.RankFailed) as raised:
        trained(wider, 1, start=one_rank)
    key = "modality_submodules.vision.module.input_projections"
    assert f"{find(one_rank).folder} has {key}" in str(raised.value)
    assert "float32 [1024, 256], the spec needs float32 [96, 256]" in str(raised.value)


def _flat(steps: tuple[object, ...]) -> list[float]:
    return [number for _, *numbers in curve(steps) for number in numbers]
