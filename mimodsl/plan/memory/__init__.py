"""How much memory a rank needs, and for what."""

from mimodsl.plan.memory.activations import Passes, passes, role_share
from mimodsl.plan.memory.buffers import Buffer, gradient_buffers
from mimodsl.plan.memory.fit import Misfit, Remedy, memory_size, misfits
from mimodsl.plan.memory.peak import PeakMemory, RoleMemory, peak_memory, role_memories

__all__ = [
    "Buffer",
    "Misfit",
    "Passes",
    "PeakMemory",
    "Remedy",
    "RoleMemory",
    "gradient_buffers",
    "memory_size",
    "misfits",
    "passes",
    "peak_memory",
    "role_memories",
    "role_share",
]
