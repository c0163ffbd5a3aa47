"""The operations of random specs are what torch counts in a real step, product by product."""

import logging
from collections.abc import Iterator
from random import Random

import attrs
import pytest
import torch
import torch.distributed as dist
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker

from mimodsl.builder.assembly import assemble
from mimodsl.checker.runner import check
from mimodsl.diagnostics import Severity
from mimodsl.ir import Grid, Hybrid, LanguageModel, Module, Precision, ScheduleKind, Spec
from mimodsl.ir.kinds import TransformerKind
from mimodsl.megatron.cpu import backend
from mimodsl.planner.plan import plan
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.differential.balance import balanced_routers, with_capacity
from tests.differential.specs import sound_spec
from tests.e2e.recorder import flop_counter
from tests.e2e.test_traffic import counted_by_torch

SEEDS = range(1, 13)  # with experts that have biases, and with some that are one product


@pytest.fixture(autouse=True)
def on_cpu() -> Iterator[None]:
    logging.disable(logging.WARNING)
    with backend.activate():
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")
def test_a_rank_computes_what_the_plan_says() -> None:
    for seed in SEEDS:
        # In bf16 experts without biases are one product.
        precision = Precision.FP32 if seed % 2 else Precision.BF16
        spec = on_one_rank(sound_spec(Random(seed)), precision, seed)
        assert not [found for found in check(spec) if found.severity is Severity.ERROR]
        assert counted(spec) == counted_by_torch(plan(spec), 0), f"seed {seed}: {spec}"


def on_one_rank(spec: Spec, precision: Precision, seed: int) -> Spec:
    """The modules of a spec as one rank computes them, without dropout, which takes torch's
    attention off its fused kernel, and with experts of every capacity."""
    views: dict[str, dict[str, int | None]] = {"dense": {"dp": 1}}
    if getattr(spec.language.kind, "moe", None) is not None:
        views["expert"] = {"ep": 1, "pp": None}
    return attrs.evolve(
        spec,
        grids=(Grid(name="all", views=views),),
        place="all",
        modules=tuple(_module(module, seed) for module in spec.modules),
        schedule=attrs.evolve(spec.schedule, kind=ScheduleKind.NO_PIPELINING, micro_batch=2),
        train=attrs.evolve(spec.train, precision=precision),
    )


def _module(module: Module, seed: int) -> Module:
    kind = module.kind
    if isinstance(kind, TransformerKind):
        kind = attrs.evolve(kind, dropout=0.0, attention_dropout=0.0)
    if isinstance(kind, Hybrid):
        kind = attrs.evolve(kind, pattern=kind.layers)
    moe = getattr(kind, "moe", None)
    if isinstance(kind, LanguageModel) and moe is not None:
        kind = attrs.evolve(kind, moe=with_capacity(moe, seed))  # type: ignore[call-arg]
    return attrs.evolve(module, grid="all", kind=kind)


def counted(spec: Spec) -> int:
    """What torch counts in a step of a world of this process alone."""
    destroy_moe_metrics_tracker()  # sized by the layers of the last model
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assembly = assemble(spec)
        data = list(microbatches(SyntheticData(spec=spec), 0, assembly.process_groups))
        with flop_counter() as flops, balanced_routers(), torch.enable_grad():
            assembly.forward_backward(data)
        return flops.get_total_flops()
    finally:
        dist.destroy_process_group()
