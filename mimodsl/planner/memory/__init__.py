"""How much memory a rank needs, and for what."""

from mimodsl.planner.memory.activations import Passes, passes, role_share
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers
from mimodsl.planner.memory.fit import Misfit, Remedy, memory_size, misfits
from mimodsl.planner.memory.peak import PeakMemory, RoleMemory, peak_memory, role_memories

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
