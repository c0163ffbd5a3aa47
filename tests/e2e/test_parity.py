"""The same weights and samples in different layouts: the same loss and the same gradients.

Gradient norms are compared module by module. The encoder's is small beside the language model's:
were it off by a ratio of data-parallel sizes, the norm over all would hardly show it.
"""

from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

import mimodsl
from mimodsl.build.assembly import assemble
from mimodsl.build.guard import no_parallel_state
from mimodsl.ir import (
    AffineProjector,
    Beside,
    Flow,
    Grid,
    Module,
    Size,
    Spec,
    Together,
    Vit,
)
from mimodsl.runtime.checkpoint import load_weights, save_weights
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.e2e import worlds

SPECS = Path(__file__).parents[2] / "specs"
STEPS = 2
type Axes = dict[str, int | None]
type Norms = list[dict[str, float]]


@cache
def _load(name: str) -> Spec:
    return mimodsl.load(SPECS / f"{name}.mimo")


def _layout(place: type, encoder: Axes, dense: Axes, expert: Axes, micro_batch: int) -> Spec:
    """The demo's modules on other grids, with eight samples a step as in every spec here."""
    spec = _load("nemotron_vlm")
    grids = (
        Grid(name="encoder", views={"dense": encoder}),
        Grid(name="llm", views={"dense": dense, "expert": expert | {"pp": None}}),
    )
    microbatches = 8 // (micro_batch * (dense.get("dp") or 1))
    return attrs.evolve(
        spec,
        grids=grids,
        place=place(parts=("encoder", "llm")),
        schedule=attrs.evolve(spec.schedule, micro_batch=micro_batch, microbatches=microbatches),
    )


ONE_RANK = _layout(Together, {"dp": 1}, {"dp": 1}, {"edp": 1}, 8)
LAYOUTS = {
    "non-colocated": _load("nemotron_vlm"),
    "colocated, fan-in": _load("nemotron_vlm_colocated"),
    "language pipeline, fan-in": _load("nemotron_vlm_pp"),
    "colocated, fan-out, ep 4": _layout(
        Together, {"tp": 4, "dp": 2}, {"tp": 2, "dp": 4}, {"ep": 4, "edp": 2}, 2
    ),
    "non-colocated, fan-out, etp 2": _layout(
        Beside, {"tp": 2, "dp": 1}, {"tp": 2, "dp": 2}, {"etp": 2, "edp": 2}, 2
    ),
}


def _with_two_encoders(spec: Spec, second_grid: str) -> Spec:
    """The spec with another encoder, of two small images a sample, on one of its grids."""
    encoder = Vit(layers=1, hidden=32, heads=2, ffn=64, image=Size(height=32, width=32))
    second = (
        Module(name="second", grid=second_grid, kind=encoder),
        Module(name="second_projector", grid=second_grid, kind=AffineProjector()),
    )
    flow = Flow(path=("second", "second_projector", "language"), token=510, images=2)
    return attrs.evolve(spec, modules=(*second, *spec.modules), flows=(*spec.flows, flow))


def _with_a_third_grid(spec: Spec) -> Spec:
    third = Grid(name="third", views={"dense": {"dp": 2}})
    return attrs.evolve(
        spec, grids=(third, *spec.grids), place=Beside(parts=("encoder", "third", "llm"))
    )


TWO_ENCODERS = {
    "on one grid": _with_two_encoders(_load("nemotron_vlm"), "encoder"),
    "on grids of their own": _with_two_encoders(_with_a_third_grid(_load("nemotron_vlm")), "third"),
    "colocated": _with_two_encoders(_load("nemotron_vlm_colocated"), "encoder"),
}


def _save(spec: Spec, folder: Path) -> None:
    with no_parallel_state():
        save_weights(assemble(spec), folder)


def _train(spec: Spec, folder: Path) -> Norms:
    """Each step's loss, and the gradient norms of this rank's modules."""
    with no_parallel_state():
        assembly = assemble(spec)
        load_weights(assembly, folder)
        data = SyntheticData(spec=spec)
        return [_step(assembly, data, step) for step in range(STEPS)]


def _step(assembly: Any, data: SyntheticData, step: int) -> dict[str, float]:
    assembly.model.zero_grad_buffer()
    assembly.optimizer.zero_grad()
    totals = assembly.forward_backward(microbatches(data, step, assembly.process_groups))
    assembly.optimizer.prepare_grads()
    norms = {
        name: info.optimizer.get_grad_norm()
        for name, info in assembly.optimizer.module_infos.items()
        if info.is_active
    }
    _, overall, _ = assembly.optimizer.step()
    return norms | {"loss": totals.mean_loss, "overall": overall}


def _norms(spec: Spec, weights: Path) -> Norms:
    """As `_train`, over all ranks: each step's loss and the gradient norms of all modules."""
    ranks = worlds.run(spec.world, _train, spec, weights)
    steps = [
        {name: norm for rank in ranks for name, norm in rank[step].items()} for step in range(STEPS)
    ]
    for rank in ranks:
        for step in range(STEPS):
            assert rank[step].items() <= steps[step].items()
    return steps


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    worlds.run(1, _save, ONE_RANK, folder)
    return folder


@pytest.fixture(scope="module")
def on_one_rank(weights: Path) -> Norms:
    return _norms(ONE_RANK, weights)


@pytest.mark.parametrize("spec", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_has_the_gradients_of_one_rank(
    spec: Spec, weights: Path, on_one_rank: Norms
) -> None:
    for found, expected in zip(_norms(spec, weights), on_one_rank, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
        assert found.keys() == {"vision", "language", "loss", "overall"}


def test_two_encoders_have_the_same_gradients_wherever_they_are(tmp_path: Path) -> None:
    first, *others = TWO_ENCODERS.values()
    worlds.run(first.world, _save, first, tmp_path)
    expected = _norms(first, tmp_path)
    assert expected[0].keys() == {"vision", "second", "language", "loss", "overall"}
    for other in others:
        for found, wanted in zip(_norms(other, tmp_path), expected, strict=True):
            assert found == pytest.approx(wanted, rel=1e-4)
