"""What megatron-core keeps of a model for the whole process, put away before the next one."""

from typing import Any, cast

from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler


def forget_last_model() -> None:
    """Have a process in which models of megatron-core 0.19.2 have run be as a new one.

    Statistics of experts are as long as that model had layers (transformer/moe/moe_logging.py:122),
    the scale of auxiliary losses has the shape that it was first set in (moe_utils.py:334), and the
    scratch buffers of layers are on the device that it ran on, perhaps meta (utils.py:693).
    """
    parallel_state.destroy_global_memory_buffer()
    destroy_moe_metrics_tracker()
    cast(Any, MoEAuxLossAutoScaler).main_loss_backward_scale = None
