"""What one model leaves in a process does not reach the next one."""

import gc
from typing import Any
from weakref import ref

import attrs
import pytest
import torch
from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_logging import get_moe_metrics_tracker
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler

from mimodsl.builder.assembly import assemble
from mimodsl.ir import LanguageModel, Precision, Schedule, ScheduleKind
from mimodsl.ir.kinds import Recompute
from mimodsl.megatron.leftovers import forget_last_model
from mimodsl.megatron.memory_buffer import ensure_memory_buffer
from mimodsl.runtime.data import SyntheticData, microbatches
from tests.unit.builder.models import DENSE_GPT, HYBRID, MOE, MOE_GPT, spec

KINDS = {
    "dense": DENSE_GPT,
    "hybrid": HYBRID,
    "recomputed": attrs.evolve(HYBRID, recompute=Recompute.FULL),
    "experts": MOE_GPT,
    "overlapped": attrs.evolve(HYBRID, moe=attrs.evolve(MOE, shared_overlap=True)),
    "padded": attrs.evolve(
        HYBRID, moe=attrs.evolve(MOE, capacity_factor=1.0, pad_to_capacity=True)
    ),
}


def test_statistics_and_scales_begin_anew():
    loss = torch.zeros(())
    get_moe_metrics_tracker().record("load_balancing_loss", loss, layer_number=1, num_layers=1)
    MoEAuxLossAutoScaler.set_loss_scale(torch.ones(()))
    forget_last_model()
    get_moe_metrics_tracker().record("load_balancing_loss", loss, layer_number=2, num_layers=2)
    MoEAuxLossAutoScaler.set_loss_scale(torch.ones(1))
    forget_last_model()


def test_scratch_buffers_are_not_those_of_another_device():
    ensure_memory_buffer()
    buffer = parallel_state.get_global_memory_buffer
    with torch.device("meta"):
        buffer().buffer[("mpu", torch.float32)] = torch.empty(8)
    forget_last_model()
    ensure_memory_buffer()
    assert not buffer().buffer


@pytest.mark.usefixtures("lone_rank")
@pytest.mark.filterwarnings("ignore")  # of what megatron-core warns, nothing is tested here
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_model_that_has_trained_is_garbage(kind: LanguageModel, precision: Precision) -> None:
    whole = spec(kind, precision=precision)
    schedule = Schedule(kind=ScheduleKind.NO_PIPELINING, sequence=32, microbatches=2)
    whole = attrs.evolve(whole, schedule=schedule)

    def trained() -> ref[Any]:
        assembly = assemble(whole)
        samples = list(microbatches(SyntheticData(spec=whole), 0, assembly.process_groups))
        assembly.train_step(samples)
        return ref(assembly.model)

    model = trained()
    gc.collect()
    assert model() is None
