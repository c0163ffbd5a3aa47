"""The version of this package, and that of megatron-core, each in one place."""

__version__ = "0.1.0"

MEGATRON_CORE = "0.19.2"
"""The version of megatron-core that the rules and the builder were written for."""
