"""The scratch buffer that megatron-core's local layers share, made without the state around it.

Megatron does: sequence-parallel linears gather into a global buffer (tensor_parallel/layers.py,
"class LinearWithGradAccumulationAndAsyncCommunication … get_global_memory_buffer") that only
`initialize_model_parallel` makes.
Why it hurts: that function also makes global groups, and is never called here. The buffer itself
knows no group.
Goes when: layers make their scratch buffer themselves.
"""

from megatron.core import parallel_state


def ensure_memory_buffer() -> None:
    """Make megatron-core's global memory buffer, unless this process has it."""
    if parallel_state._GLOBAL_MEMORY_BUFFER is None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        parallel_state._set_global_memory_buffer()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
