"""Weights pass between kernel sets, whose modules keep different things beside them."""

from pathlib import Path

import attrs
import pytest
import torch
from torch import Tensor

from mimodsl.builder.assembly import Assembly, assemble
from mimodsl.ir import Schedule, ScheduleKind, Spec
from mimodsl.megatron.local_layers import LocalNorm
from mimodsl.runtime.checkpoint.weights import load_weights, save_weights
from tests.unit.builder.models import HYBRID, spec

pytestmark = [
    pytest.mark.usefixtures("lone_rank"),
    pytest.mark.filterwarnings("ignore"),  # of what megatron-core and torch warn
]


def whole(seed: int) -> Spec:
    one = spec(HYBRID)
    schedule = Schedule(kind=ScheduleKind.NO_PIPELINING, sequence=32)
    return attrs.evolve(one, schedule=schedule, train=attrs.evolve(one.train, seed=seed))


def with_states(patch: pytest.MonkeyPatch) -> None:
    """Have norms keep a state, as those of Transformer Engine do."""

    def get_extra_state(_: LocalNorm) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    patch.setattr(LocalNorm, "get_extra_state", get_extra_state, raising=False)
    patch.setattr(LocalNorm, "set_extra_state", lambda _, state: None, raising=False)


def parameters(assembly: Assembly) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in assembly.model.named_parameters()}


@pytest.mark.parametrize("theirs_first", [True, False])
def test_weights_of_either_kernels_load_into_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs_first: bool
) -> None:
    with monkeypatch.context() as patch:
        if theirs_first:
            with_states(patch)
        saved = assemble(whole(1))
        save_weights(saved, tmp_path)
        wanted = parameters(saved)
    if not theirs_first:
        with_states(monkeypatch)
    other = assemble(whole(2))
    assert any(not torch.equal(one, wanted[name]) for name, one in parameters(other).items())
    load_weights(other, tmp_path)
    for name, one in parameters(other).items():
        assert torch.equal(one, wanted[name]), name
