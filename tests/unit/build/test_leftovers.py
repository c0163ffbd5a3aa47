"""What one model leaves in a process does not reach the next one."""

import torch
from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_logging import get_moe_metrics_tracker
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler

from mimodsl.build.leftovers import forget_last_model
from mimodsl.build.memory_buffer import ensure_memory_buffer


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
