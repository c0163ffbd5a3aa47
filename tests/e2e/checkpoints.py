"""Small specs, and runs of them on ranks, for the tests of checkpoints."""

from functools import cache
from pathlib import Path
from typing import Any

import attrs

import mimodsl
from mimodsl.ir import Grid, Spec, Together
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.runtime.checkpoint.folder import find, prepare
from mimodsl.runtime.train import RankSummary, Saving, Step, Training
from tests.e2e import worlds

SPECS = Path(__file__).parents[2] / "specs"
type Axes = dict[str, int | None]


@attrs.frozen
class Mute:
    """A rank that nobody listens to."""

    rank: int

    def phase(self, name: str) -> None: ...

    def report(self, value: Any) -> None: ...


@cache
def load_spec(name: str) -> Spec:
    return mimodsl.load(SPECS / f"{name}.mimo")


def layout(place: type, encoder: Axes, dense: Axes, expert: Axes, pattern: str = "") -> Spec:
    """The demo's modules on other grids, with four samples a step in all of them."""
    spec = load_spec("nemotron_vlm")
    grids = (
        Grid(name="encoder", views={"dense": encoder}),
        Grid(name="llm", views={"dense": dense, "expert": expert | {"pp": None}}),
    )
    spec = attrs.evolve(
        spec,
        grids=grids,
        place=place(parts=("encoder", "llm")),
        schedule=attrs.evolve(
            spec.schedule, micro_batch=2 // (dense.get("dp") or 1), microbatches=2
        ),
    )
    return with_kind(spec, "language", pattern=pattern) if pattern else spec


def with_kind(spec: Spec, name: str, **changes: object) -> Spec:
    modules = [
        attrs.evolve(one, kind=attrs.evolve(one.kind, **changes)) if one.name == name else one
        for one in spec.modules
    ]
    return attrs.evolve(spec, modules=modules)


def with_training(spec: Spec, **changes: object) -> Spec:
    return attrs.evolve(spec, train=attrs.evolve(spec.train, **changes))


ONE_RANK = layout(Together, {"dp": 1}, {"dp": 1}, {"edp": 1})
COLOCATED = layout(Together, {"dp": 2}, {"tp": 2}, {"ep": 2})


def trained(
    spec: Spec, steps: int, *, start: Path | None = None, save: Path | None = None
) -> tuple[Step, ...]:
    """The steps of a run, which every rank saw alike."""
    training = Training(
        spec=spec,
        steps=steps,
        start=find(start) if start else None,
        saving=Saving(folder=save) if save else None,
    )
    if save:
        prepare(save)
    ranks = worlds.run(spec.world, _on_a_rank, training)
    assert all(curve(rank.steps) == curve(ranks[0].steps) for rank in ranks)
    return ranks[0].steps


def _on_a_rank(training: Training) -> RankSummary:
    from torch import distributed as dist

    with no_parallel_state():
        return training(Mute(rank=dist.get_rank()))


def curve(steps: tuple[Step, ...]) -> list[tuple[int, float, float | None, float]]:
    return [(step.step, step.loss, step.grad_norm, step.lr) for step in steps]
