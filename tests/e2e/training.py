"""Training in a layout and on one rank, from the same weights and on the same samples."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from mimodsl.builder.assembly import Assembly, assemble
from mimodsl.builder.model import mimo_names
from mimodsl.ir import Spec
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.runtime.checkpoint.weights import load_weights, save_weights
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.verify.expert_choices import RouterChoices
from tests.e2e import worlds
from tests.e2e.matrix import one_rank
from tests.e2e.worlds import GroupsMade

STEPS = 2
type Step = dict[str, float]
"""The loss of a step and, by Megatron-Core's key, the gradient norms of modules."""
type Samples = Callable[..., SyntheticData]
"""A kind of samples; each takes the `spec`."""


@frozen(kw_only=True)
class Reference:
    """A model trained on one rank: the weights it began with, and each step."""

    weights: Path
    steps: list[Step]


class References:
    """Each model's training on one rank, once for all its layouts."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder
        self._trained = cache(self._train)

    def __call__(self, spec: Spec, samples: Samples = SyntheticData) -> Reference:
        return self._trained(one_rank(spec), samples)

    def _train(self, spec: Spec, samples: Samples) -> Reference:
        folder = self._new_folder()
        (steps,) = worlds.run(1, _save_and_train, spec, samples, folder)
        return Reference(weights=folder, steps=steps)


def train(spec: Spec, expected: Reference, samples: Samples = SyntheticData) -> list[Step]:
    """The steps of a layout, which every rank saw alike, from the weights of a reference.

    Meanwhile `parallel_state` is guarded, and no group is made but those of the plan.
    """
    ranks = worlds.run(spec.world, _load_and_train, spec, samples, expected.weights)
    worlds.assert_as_planned(spec, [made for _, made in ranks])
    found: list[Step] = []
    for number in range(STEPS):
        step = {name: value for steps, _ in ranks for name, value in steps[number].items()}
        assert all(steps[number].items() <= step.items() for steps, _ in ranks)
        assert step.keys() == {*mimo_names(spec).values(), "loss", "overall"}
        found.append(step)
    return found


def assert_same(found: list[Step], expected: Reference) -> None:
    """Losses and gradient norms are those of one rank.

    Norms are compared module by module. The encoder's is small beside the language model's: were it
    off by a ratio of data-parallel sizes, the norm over all would hardly show it.
    """
    for step, on_one_rank in zip(found, expected.steps, strict=True):
        assert step == pytest.approx(on_one_rank, rel=1e-4)


def _save_and_train(spec: Spec, samples: Samples, folder: Path) -> list[Step]:
    with no_parallel_state():
        assembly = assemble(spec)
        save_weights(assembly, folder)
        return _steps(assembly, samples(spec=spec), folder, alone=True)


def _load_and_train(spec: Spec, samples: Samples, weights: Path) -> tuple[list[Step], GroupsMade]:
    with no_parallel_state():
        assembly = assemble(spec)
        load_weights(assembly, weights)
        steps = _steps(assembly, samples(spec=spec), weights, alone=False)
        return steps, worlds.groups_made()


def _steps(assembly: Assembly, data: SyntheticData, weights: Path, *, alone: bool) -> list[Step]:
    """Where rounding alone decides who a token's experts are, layouts go by the one rank."""
    choices, steps = RouterChoices(assembly.model), list[Step]()
    for number in range(STEPS):
        with choices.in_step(weights.with_suffix(f".choices-{number}"), alone=alone):
            steps.append(_step(assembly, data, number))
    return steps


def _step(assembly: Any, data: SyntheticData, number: int) -> Step:
    assembly.model.zero_grad_buffer()
    assembly.optimizer.zero_grad()
    totals = assembly.forward_backward(microbatches(data, number, assembly.process_groups))
    assembly.optimizer.prepare_grads()
    norms = {
        name: info.optimizer.get_grad_norm()
        for name, info in assembly.optimizer.module_infos.items()
        if info.is_active
    }
    _, overall, _ = assembly.optimizer.step()
    return norms | {"loss": totals.mean_loss, "overall": overall}
