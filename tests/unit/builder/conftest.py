"""One rank on a CPU, with groups of its own and no global topology."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

from mimodsl.megatron.cpu import backend
from mimodsl.megatron.guard import no_parallel_state
from mimodsl.megatron.memory_buffer import ensure_memory_buffer
from mimodsl.megatron.weight_gradients import provide_weight_gradients

FIELDS = (
    *("tp", "cp", "dp", "pp", "mp", "tp_cp", "dp_cp", "tp_dp_cp", "dp_cp_gtp_remat", "embd"),
    *("ep", "expt_tp", "expt_dp", "tp_ep", "tp_ep_pp", "expt_dp_gtp_remat"),
    *("intra_dp_cp", "intra_expt_dp", "intra_dist_opt"),
)


@pytest.fixture(scope="module")
def world() -> Iterator[dist.ProcessGroup]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    group = dist.group.WORLD
    assert group is not None
    yield group
    dist.destroy_process_group()


@pytest.fixture
def groups(world: dist.ProcessGroup) -> Iterator[ProcessGroupCollection]:
    """The groups of a rank that is alone, on a process that takes the CPU for its device.

    Any read of megatron-core's global topology raises.
    """
    with backend.activate(), no_parallel_state():
        ensure_memory_buffer()
        provide_weight_gradients()
        torch.manual_seed(7)
        model_parallel_cuda_manual_seed(7, tp_rank=0, ep_rank=0, etp_rank=0, force_reset_rng=True)
        yield ProcessGroupCollection(**dict.fromkeys(FIELDS, world), pos_embd=None)
    assert not parallel_state.is_initialized()
