"""How much memory a rank needs, and for what."""

from mimodsl.plan.memory.activations import Passes, passes, role_share
from mimodsl.plan.memory.buffers import Buffer, gradient_buffers
from mimodsl.plan.memory.peak import PeakMemory, peak_memory

__all__ = [
    "Buffer",
    "Passes",
    "PeakMemory",
    "gradient_buffers",
    "passes",
    "peak_memory",
    "role_share",
]
