"""Evaluation: the same in every layout, right by the logits, and without a trace in training."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from mimodsl.builder.assembly import assemble
from mimodsl.builder.evaluation import Evaluated
from mimodsl.ir import Attention, Beside, Ddp, Gpt, Grid, Module, Spec
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.runtime.checkpoint.weights import load_weights, save_weights
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.train import Evaluating, Step, Training
from tests.e2e import worlds
from tests.e2e.checkpoints import COLOCATED, ONE_RANK, Mute, curve, layout, with_training

STEPS = 3
LAYOUTS = {
    "colocated, tp, ep": COLOCATED,
    "stages, fan-in, overlapped": with_training(
        layout(Beside, {"dp": 2}, {"pp": 2}, {"edp": 1}, pattern="MEM|*EM"),
        ddp=Ddp(overlap_grad_reduce=True, overlap_param_gather=True),
    ),
    "tp, dp": layout(Beside, {"tp": 2}, {"tp": 2, "dp": 2}, {"ep": 4}),
}


def _batches(spec: Spec, assembly: Any) -> list[list[Any]]:
    data = SyntheticData(spec=spec).held_out()
    return [list(microbatches(data, step, assembly.process_groups)) for step in range(STEPS)]


def _reference(spec: Spec, folder: Path) -> tuple[Evaluated, float]:
    """An evaluation on one rank after some steps of training, and the accuracy by its logits."""
    with no_parallel_state():
        assembly = assemble(spec)
        data = SyntheticData(spec=spec)
        for step in range(6):
            assembly.train_step(microbatches(data, step, assembly.process_groups))
        save_weights(assembly, folder)
        batches = _batches(spec, assembly)
        found = assembly.evaluate(batches)
        right = tokens = 0.0
        with torch.no_grad():
            for batch in (one for step in batches for one in step):
                logits, _ = assembly.model(**{**batch, "labels": None})
                hits = logits.argmax(-1) == batch["labels"]
                right += float((hits * batch["loss_mask"]).sum())
                tokens += float(batch["loss_mask"].sum())
    return found, right / tokens


def _evaluated(spec: Spec, folder: Path) -> Evaluated:
    with no_parallel_state():
        assembly = assemble(spec)
        load_weights(assembly, folder)
        training = [module.training for module in assembly.model.modules()]
        found = assembly.evaluate(_batches(spec, assembly))
        assert [module.training for module in assembly.model.modules()] == training
        assert assembly.evaluate(_batches(spec, assembly)) == found
    return found


@pytest.fixture(scope="module")
def on_one_rank(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluated]:
    folder = tmp_path_factory.mktemp("weights")
    ((found, accuracy),) = worlds.run(1, _reference, ONE_RANK, folder)
    assert found.accuracy == pytest.approx(accuracy)
    assert 0.05 < accuracy < 0.95
    return folder, found


@pytest.mark.parametrize("spec", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_evaluates_alike(spec: Spec, on_one_rank: tuple[Path, Evaluated]) -> None:
    folder, expected = on_one_rank
    found = worlds.run(spec.world, _evaluated, spec, folder)
    assert all(one == found[0] for one in found)
    assert found[0].loss == pytest.approx(expected.loss, rel=1e-4)
    assert found[0].tokens == expected.tokens
    # Rounding may decide between two letters that are nearly alike.
    assert found[0].accuracy == pytest.approx(expected.accuracy, abs=2.5 / expected.tokens)


def _with_and_without(spec: Spec) -> tuple[tuple[Step, ...], ...]:
    runs = (
        Training(spec=spec, steps=3, evaluating=Evaluating(every=every, steps=1) if every else None)
        for every in (None, 1)
    )
    return tuple(run(Mute(rank=0)).steps for run in runs)


def _evaluated_again(spec: Spec) -> tuple[Evaluated, Evaluated]:
    assembly = assemble(spec)
    return assembly.evaluate(_batches(spec, assembly)), assembly.evaluate(_batches(spec, assembly))


def test_an_evaluation_leaves_training_as_it_is_and_drops_nothing_out() -> None:
    kind = Gpt(hidden=32, vocabulary=64, layers=1, attention=Attention(heads=2), dropout=0.5)
    spec = attrs.evolve(
        ONE_RANK,
        grids=(Grid(name="all", views={"dense": {"dp": 1}}),),
        place="all",
        modules=(Module(name="text", grid="all", kind=kind),),
        flows=(),
    )
    ((without, with_evaluation),) = worlds.run(1, _with_and_without, spec)
    assert curve(with_evaluation) == curve(without)
    ((once, again),) = worlds.run(1, _evaluated_again, spec)
    assert again == once
