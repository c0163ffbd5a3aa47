"""The optimizer over all modules, against megatron-core's own."""

from typing import Any

import attrs
import pytest
import torch
from megatron.core.models.mimo.optimizer import MimoOptimizer
from megatron.core.process_groups_config import ProcessGroupCollection
from torch import Tensor

from mimodsl.builder import optimizer as optimizers
from mimodsl.builder.assembly import Assembly, assemble
from mimodsl.builder.model import modules_of
from mimodsl.builder.optimizer import OneNormOptimizer
from mimodsl.ir import Precision
from tests.unit.builder.models import HYBRID, spec

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental and still under")


def assembled(precision: Precision, clip: float = 1.0, *, freeze: bool = False) -> Assembly:
    """A hybrid VLM with gradients in its buffers, the same every time."""
    whole = spec(HYBRID, precision=precision)
    train = attrs.evolve(whole.train, optimizer=attrs.evolve(whole.train.optimizer, clip=clip))
    modules = tuple(attrs.evolve(m, frozen=freeze and m.name != "language") for m in whole.modules)
    assembly = assemble(attrs.evolve(whole, train=train, modules=modules))
    generator = torch.Generator().manual_seed(5)
    for module in modules_of(assembly.model).values():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.main_grad.normal_(generator=generator)
    return assembly


def weights(assembly: Assembly) -> list[Tensor]:
    return [p.detach().clone() for p in assembly.model.parameters()]


def parts(assembly: Assembly) -> list[Any]:
    optimizers: list[Any] = [info.optimizer for info in assembly.optimizer.module_infos.values()]
    parts = [part for optimizer in optimizers for part in optimizer.chained_optimizers]
    return [part for part in parts if not part.is_stub_optimizer]


def one_step(
    assembly: Assembly, step: Any = OneNormOptimizer.step
) -> tuple[float | None, list[Tensor]]:
    """The gradient norm, and afterwards weights and, to show what was clipped, moments."""
    updated, norm, zeros = step(assembly.optimizer)
    assert updated
    assert zeros is None
    states = [state for part in parts(assembly) for state in part.optimizer.state.values()]
    return norm, weights(assembly) + [state["exp_avg"] for state in states]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("clip", [1.0, 1e9, 0.0])
def test_a_step_is_megatrons(
    groups: ProcessGroupCollection,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    clip: float,
) -> None:
    norm, updated = one_step(assembled(precision, clip))
    monkeypatch.setattr(optimizers, "OneNormOptimizer", MimoOptimizer)
    theirs = assembled(precision, clip)
    assert type(theirs.optimizer) is MimoOptimizer
    wanted_norm, wanted = one_step(theirs, MimoOptimizer.step)
    assert norm == pytest.approx(wanted_norm, rel=1e-5)
    torch.testing.assert_close(updated, wanted, rtol=1e-6, atol=1e-6)


def test_the_norm_leaves_frozen_modules_out(groups: ProcessGroupCollection) -> None:
    def norm(*, freeze: bool) -> float:
        return one_step(assembled(Precision.FP32, freeze=freeze))[0] or 0.0

    trained = assembled(Precision.FP32, freeze=True)
    language = modules_of(trained.model)["language"]
    squares = [p.main_grad.square().sum() for p in language.parameters()]
    assert norm(freeze=True) == pytest.approx(float(torch.stack(squares).sum().sqrt()), rel=1e-5)
    assert norm(freeze=True) < norm(freeze=False)


def test_an_overflow_updates_nothing(groups: ProcessGroupCollection) -> None:
    assembly = assembled(Precision.FP16)
    next(assembly.model.parameters()).main_grad[0] = torch.inf
    before = weights(assembly)
    assert assembly.optimizer.step() == (False, None, None)
    torch.testing.assert_close(weights(assembly), before, rtol=0.0, atol=0.0)


def test_torch_updates_in_one_kernel(groups: ProcessGroupCollection) -> None:
    """The same update, by another road."""
    plain, assembly = assembled(Precision.FP32), assembled(Precision.FP32)
    for group in (group for part in parts(plain) for group in part.param_groups):
        group["fused"] = False
    _, wanted = one_step(plain)
    here = [group for part in parts(assembly) for group in part.param_groups]
    assert {(group["fused"], group["foreach"]) for group in here} == {(True, False)}
    _, updated = one_step(assembly)
    torch.testing.assert_close(updated, wanted, rtol=1e-6, atol=1e-6)
