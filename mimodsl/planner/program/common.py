"""The fields of a TransformerConfig that modules of every family share.

A field that no function here or in the families sets keeps megatron-core's default.
"""

from collections.abc import Mapping
from typing import Any, Final

from mimodsl.ir.grid import Grid
from mimodsl.ir.kinds import Activation, Recompute
from mimodsl.ir.train import Kernels, Precision
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.program.names import Call, Fields, Name
from mimodsl.planner.program.values import Part

DTYPES: Final = {
    Precision.FP32: Name("torch:float32"),
    Precision.BF16: Name("torch:bfloat16"),
    Precision.FP16: Name("torch:float16"),
}

_GELU: Final = Name("torch.nn.functional:gelu")
_SILU: Final = Name("torch.nn.functional:silu")

ACTIVATIONS: Final = {
    Activation.GELU: _GELU,
    # megatron-core's own computes the same in single steps, for torch to compile (activations.py,
    # "def fast_gelu").
    Activation.FAST_GELU: Call(Name("functools:partial"), (_GELU,), {"approximate": "tanh"}),
    Activation.QUICK_GELU: Name("megatron.core.activations:quick_gelu"),
    Activation.SILU: _SILU,
    Activation.RELU: Name("torch.nn.functional:relu"),
    Activation.SQUARED_RELU: Name("megatron.core.activations:squared_relu"),
    Activation.SWIGLU: _SILU,
    Activation.GEGLU: _GELU,
}
"""The function of an MLP. The gated forms are a function and `gated_linear_unit`."""

RECOMPUTE: Final[Mapping[Recompute, Fields]] = {
    Recompute.NONE: {},
    Recompute.SELECTIVE: {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]},
    Recompute.FULL: {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}

COMMON: Final[Fields] = {
    # The same in every module, or encoder and language gradients are scaled differently.
    "calculate_per_token_loss": True,
    # What the multi-module schedule takes (pipeline_parallel/schedules.py,
    # "if config.overlap_p2p_comm: raise", "if not config.variable_seq_lengths"); and a batched
    # exchange can hang from four stages on (pipeline_parallel/p2p_communication.py,
    # "class P2PCommunicator … ops.append(send_prev_op)").
    "variable_seq_lengths": True,
    "overlap_p2p_comm": False,
    "batch_p2p_comm": False,
    "deallocate_pipeline_outputs": False,
}

NO_EXPERTS: Final[Fields] = {
    # The default, allgather, refuses variable lengths in dense modules too
    # (transformer/transformer_config.py, "must be a non-negative … allgather").
    "moe_token_dispatcher_type": "alltoall",
    # An expert axis of the grid bites a module without experts (transformer/transformer_config.py,
    # "if self.expert_model_parallel_size").
    "expert_model_parallel_size": 1,
    "expert_tensor_parallel_size": 1,
}


def part(plan: ModulePlan, build: Name, config: Fields, arguments: Fields) -> Part:
    """A module as the program describes it. The builder imports the function named by `build`."""
    function: Any = build
    return Part(
        grid=plan.module.grid,
        build=function,
        config=config,
        arguments=arguments,
        frozen=not plan.trained,
    )


def precision(plan: ModulePlan) -> Fields:
    """The precision of weights, of activations and of messages between stages."""
    dtype = DTYPES[plan.precision]
    return {
        "params_dtype": dtype,
        # Bridges allocate what they receive in it (pipeline_parallel/bridge_communicator.py,
        # "tensor_to_recv = torch.empty").
        "pipeline_dtype": dtype,
        "bf16": plan.precision is Precision.BF16,
        "fp16": plan.precision is Precision.FP16,
        "enable_autocast": False,
    }


def kernels(plan: ModulePlan, *, fuse_dropout: bool = True, fuse_gradients: bool = True) -> Fields:
    """The kernel set and what it fuses. The plan has resolved kernels, not `auto`."""
    return {
        "transformer_impl": plan.kernels.value,
        # In apex's product or in ours (`provide_weight_gradients`).
        "gradient_accumulation_fusion": fuse_gradients,
        "bias_dropout_fusion": fuse_dropout and plan.kernels is Kernels.TRANSFORMER_ENGINE,
        # Both are TransformerConfig's defaults, where apex's kernels are not at hand.
        "bias_activation_fusion": False,
        "masked_softmax_fusion": False,
    }


def parallel(grid: Grid) -> Fields:
    """The sizes of the axes that every module knows."""
    return {
        "tensor_model_parallel_size": grid.size("tp"),
        "context_parallel_size": grid.size("cp"),
        "pipeline_model_parallel_size": grid.size("pp"),
    }


def activation(function: Activation) -> Fields:
    """The nonlinearity of an MLP."""
    return {"activation_func": ACTIVATIONS[function], "gated_linear_unit": function.gated}


def no_attention(grid: Grid) -> Fields:
    """The heads of a module without attention: TransformerConfig divides by their number, and
    divides their number by tp."""
    return {"num_attention_heads": grid.size("tp"), "kv_channels": 1}
