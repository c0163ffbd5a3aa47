"""What megatron-core keeps of a model, put away: for the whole process, and of its passes."""

from typing import Any, cast

from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler
from torch import Tensor, nn


def forget_last_model() -> None:
    """Have a process in which models of megatron-core 0.19.2 have run be as a new one.

    Statistics of experts are as long as that model had layers (transformer/moe/moe_logging.py:122),
    the scale of auxiliary losses has the shape that it was first set in (moe_utils.py:334), and the
    scratch buffers of layers are on the device that it ran on, perhaps meta (utils.py:693).
    """
    parallel_state.destroy_global_memory_buffer()
    destroy_moe_metrics_tracker()
    cast(Any, MoEAuxLossAutoScaler).main_loss_backward_scale = None


def let_go_of_passes(model: nn.Module) -> None:
    """Have a model be garbage, once nothing else refers to it, for all the passes it has made.

    Of the last microbatch the dispatchers of megatron-core 0.19.2 keep tensors that lead to its
    forward pass (transformer/moe/token_dispatcher.py:636). To that DDP has tied hooks which refer
    to the model, in torch's graph, where Python's collector does not see that they go in a circle.
    """
    for layer in model.modules():
        if isinstance(layer, MoELayer):
            kept = vars(layer.token_dispatcher)
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    kept[name] = None
