"""Specs built and trained on CPU ranks, under the guard that no topology is global."""

import math
from functools import cache
from pathlib import Path

import attrs
import pytest
import torch
from megatron.core import parallel_state

import mimodsl
from mimodsl.builder.assembly import StepResult, assemble
from mimodsl.builder.model import modules_of
from mimodsl.ir import Attention, Beside, Ddp, Gpt, Grid, Module, Precision, Spec
from mimodsl.ir.train import LossPer
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds
from tests.e2e.checkpoints import layout

SPECS = Path(__file__).parents[2] / "specs"
STEPS = 3


def _train(spec: Spec) -> list[StepResult]:
    with no_parallel_state():
        assembly = assemble(spec)
        data = SyntheticData(spec=spec)
        steps = [
            assembly.train_step(microbatches(data, step, assembly.process_groups))
            for step in range(STEPS)
        ]
    assert not parallel_state.is_initialized()
    return steps


@cache
def _load(name: str) -> Spec:
    return mimodsl.load(SPECS / f"{name}.mimo")


def _trained(spec: Spec) -> list[StepResult]:
    """The steps of a spec, which every rank saw alike."""
    ranks = worlds.run(spec.world, _train, spec)
    assert all(steps == ranks[0] for steps in ranks)
    return ranks[0]


@pytest.fixture(scope="module")
def small() -> list[StepResult]:
    return _trained(SMALL)


def _language_alone(views: dict[str, dict[str, int | None]], kind: Gpt) -> Spec:
    return attrs.evolve(
        _load("nemotron_vlm"),
        grids=(Grid(name="all", views=views),),
        place="all",
        modules=(Module(name="text_model", grid="all", kind=kind),),
        flows=(),
    )


def _training(spec: Spec, **changes: object) -> Spec:
    return attrs.evolve(spec, train=attrs.evolve(spec.train, **changes))


TIED_GPT = Gpt(
    hidden=64, vocabulary=512, layers=4, attention=Attention(heads=4), tie_embeddings=True
)
SMALL = layout(Beside, {"dp": 2}, {"dp": 2}, {"ep": 2})
SOUND = {
    "language alone, dp": _language_alone({"dense": {"tp": 2, "dp": 2}}, TIED_GPT),
    "language alone, four stages": _language_alone({"dense": {"pp": 4}}, TIED_GPT),
    "bf16": _training(SMALL, precision=Precision.BF16),
    "fp16": _training(SMALL, precision=Precision.FP16),
}


def test_the_demo_learns() -> None:
    _assert_learns(_trained(_load("nemotron_vlm")))


@pytest.mark.parametrize("spec", SOUND.values(), ids=SOUND)
def test_every_precision_and_a_model_alone_learn(spec: Spec) -> None:
    _assert_learns(_trained(spec))


def _assert_learns(steps: list[StepResult]) -> None:
    assert steps[-1].loss < steps[0].loss - 0.5
    assert all(step.grad_norm for step in steps)
    assert len({step.tokens for step in steps}) == 1


def test_overlapped_communication_changes_nothing(small: list[StepResult]) -> None:
    ddp = Ddp(overlap_grad_reduce=True, overlap_param_gather=True, bucket=1000)
    overlapped = _trained(_training(SMALL, ddp=ddp))
    assert [step.loss for step in overlapped] == pytest.approx([step.loss for step in small])


def test_equal_microbatches_weigh_alike(small: list[StepResult]) -> None:
    per_microbatch = _trained(_training(SMALL, loss_per=LossPer.MICROBATCH))
    assert per_microbatch[-1].grad_norm == pytest.approx(small[-1].grad_norm, rel=1e-5)


def _norm_without_a_number(spec: Spec) -> float:
    assembly = assemble(spec)
    if language := modules_of(assembly.model).get("language"):
        next(language.parameters()).main_grad.fill_(torch.nan)
    assembly.optimizer.prepare_grads()
    return assembly.optimizer.get_grad_norm()


def test_a_norm_is_no_number_on_all_ranks_where_one_module_has_none() -> None:
    """Here the first rank, with the encoder alone, has zeros."""
    spec = layout(Beside, {"dp": 1}, {"dp": 1}, {"edp": 1})
    assert all(map(math.isnan, worlds.run(2, _norm_without_a_number, spec)))


def _changed_by_a_step(spec: Spec) -> dict[str, bool]:
    """Whether training moved any weight of this rank's modules, by the spec's names."""
    with no_parallel_state():
        assembly = assemble(spec)
        parameters = {
            name: parameter
            for key, module in modules_of(assembly.model).items()
            for name, parameter in module.named_parameters(prefix=key)
        }
        before = {name: parameter.clone() for name, parameter in parameters.items()}
        data = SyntheticData(spec=spec)
        assembly.train_step(microbatches(data, 0, assembly.process_groups))
    moved = {name for name in parameters if not torch.equal(parameters[name], before[name])}
    parts = {"encoders.": "vision", "input_projections.": "projector", "language": "language"}
    return {
        module: any(part in name for name in moved)
        for part, module in parts.items()
        if any(part in name for name in parameters)
    }


@pytest.mark.parametrize("frozen", ["vision", "language"])
def test_a_frozen_module_keeps_its_weights_and_passes_gradients(frozen: str) -> None:
    spec = _load("nemotron_vlm")
    spec = attrs.evolve(
        spec,
        modules=[attrs.evolve(module, frozen=module.name == frozen) for module in spec.modules],
    )
    ranks = worlds.run(spec.world, _changed_by_a_step, spec)
    assert ranks[0] == {"vision": frozen != "vision", "projector": True}
    assert ranks[-1] == {"language": frozen != "language"}


def _evaluated_and_trained(spec: Spec) -> tuple[float, float, bool]:
    """The loss without and with gradients, and whether the evaluation left any behind."""
    with no_parallel_state():
        assembly = assemble(spec)
        data = SyntheticData(spec=spec)
        batch = list(microbatches(data, 0, assembly.process_groups))
        evaluated = assembly.forward_backward(batch, forward_only=True)
        left = any(
            bool(parameter.main_grad.any())
            for module in modules_of(assembly.model).values()
            for parameter in module.parameters()
        )
        return evaluated.mean_loss, assembly.train_step(batch).loss, left


@pytest.mark.parametrize("name", ["nemotron_vlm_colocated", "nemotron_vlm_pp"])
def test_an_evaluation_has_the_loss_and_no_gradients(name: str) -> None:
    spec = _load(name)
    for evaluated, trained, left in worlds.run(spec.world, _evaluated_and_trained, spec):
        assert evaluated == pytest.approx(trained)
        assert not left


def test_a_world_of_another_size_is_refused() -> None:
    with pytest.raises(worlds.RankFailed, match="the spec has 8 ranks, the world 2"):
        worlds.run(2, _train, _load("nemotron_vlm"))
