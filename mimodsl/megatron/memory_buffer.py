"""The scratch buffer that megatron-core's local layers share, without the state it lives in."""

from megatron.core import parallel_state


def ensure_memory_buffer() -> None:
    """Makes megatron-core's global memory buffer, unless this process has it.

    Sequence-parallel linears gather into it (tensor_parallel/layers.py:640 of megatron-core
    0.19.2). It knows nothing of any group, but only `initialize_model_parallel`, never called,
    makes it.
    """
    if parallel_state._GLOBAL_MEMORY_BUFFER is None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        parallel_state._set_global_memory_buffer()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
