"""The checker against training: what it accepts trains, and as the model on one rank does.

Construction and shapes tell nothing of a sum that runs over the wrong ranks. `make fuzz` asks for
more layouts, from a seed of its own: `MIMODSL_LAYOUTS` and `MIMODSL_SEED`.
"""

import os
from collections.abc import Iterator
from itertools import count, islice
from random import Random

import attrs
import pytest

from mimodsl.ir import Spec
from mimodsl.lower.printer import print_spec
from mimodsl.runtime.verify.reference import alone, comparable
from mimodsl.runtime.verify.verify import verify
from tests.differential.laws import errors_of
from tests.differential.mutations import mutated
from tests.differential.specs import sound_spec

LAYOUTS = int(os.environ.get("MIMODSL_LAYOUTS", "2"))
SEED = int(os.environ.get("MIMODSL_SEED", "0"))
RANKS = range(2, 7)
MOST_SAMPLES = 24
MOST_CHANGES = 3


def small_spec(seed: int) -> Spec | None:
    """The spec of a seed, changed here and there, if a laptop takes it and a reference exists."""
    rng = Random(seed)
    spec = sound_spec(rng, RANKS.stop - 1)
    for _ in range(rng.randint(0, MOST_CHANGES)):
        spec = mutated(rng, spec)
    samples = spec.schedule.micro_batch * spec.schedule.microbatches
    if errors_of(spec) or spec.world not in RANKS or samples > MOST_SAMPLES:
        return None
    run = comparable(_even_tempered(spec))
    return None if errors_of(run) or errors_of(alone(run)) else run


def _even_tempered(spec: Spec) -> Spec:
    """Weights of 0 hide what is computed; of large ones a rounding sends tokens elsewhere."""
    kind = attrs.evolve(spec.language.kind, init_std=0.05)
    modules = (
        attrs.evolve(module, kind=kind) if module is spec.language else module
        for module in spec.modules
    )
    return attrs.evolve(spec, modules=tuple(modules))


def specs() -> Iterator[tuple[int, Spec]]:
    for seed in count(SEED):
        spec = small_spec(seed)
        if spec is not None:
            yield seed, spec


@pytest.mark.parametrize(("seed", "spec"), list(islice(specs(), LAYOUTS)))
def test_what_is_accepted_trains_as_on_one_rank(seed: int, spec: Spec) -> None:
    difference = verify(spec, spec, steps=2).verdict.difference
    assert difference is None, f"seed {seed}: {difference}\n{print_spec(spec)}"
