"""State that megatron-core keeps of a model, dropped: for a whole process, and of a model's passes.

Megatron does: it keeps statistics of experts as long as a model's layers
(transformer/moe/moe_logging.py, "num_layers, device=value.device"), a scale of auxiliary losses in
the shape of the first one (transformer/moe/moe_utils.py,
"MoEAuxLossAutoScaler.main_loss_backward_scale = scale"), and scratch buffers on the device of the
first model (utils.py, "class GlobalMemoryBuffer") in its modules. Dispatchers keep tensors of the
last microbatch (transformer/moe/token_dispatcher.py, "self.probs = probs").
Why it hurts: a second model in a process fails or gets wrong statistics, and a model that has made
a pass is never garbage.
Goes when: this state belongs to the model, and dispatchers drop their tensors after a pass.
"""

from typing import Any, cast

from megatron.core import parallel_state
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler
from torch import Tensor, nn


def forget_last_model() -> None:
    """Make a process in which models of megatron-core have run like a new one."""
    parallel_state.destroy_global_memory_buffer()
    destroy_moe_metrics_tracker()
    cast(Any, MoEAuxLossAutoScaler).main_loss_backward_scale = None


def let_go_of_passes(model: nn.Module) -> None:
    """Make a model that has made passes garbage once nothing else refers to it.

    The tensors that dispatchers keep lead to the graph of the forward pass. There, hooks of DDP
    refer to the model. Python's collector does not see this circle, since it goes through torch.
    """
    for layer in model.modules():
        if isinstance(layer, MoELayer):
            kept = vars(layer.token_dispatcher)
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    kept[name] = None
