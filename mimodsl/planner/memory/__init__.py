"""How much memory a rank needs, and for what."""

from mimodsl.planner.memory.activations import ActivationMemory, activation_memory
from mimodsl.planner.memory.buffers import Buffer, gradient_buffers
from mimodsl.planner.memory.fit import Misfit, Remedy, memory_size, misfits
from mimodsl.planner.memory.peak import PeakMemory, RoleMemory, peak_memory, role_memories

__all__ = [
    "ActivationMemory",
    "Buffer",
    "Misfit",
    "PeakMemory",
    "Remedy",
    "RoleMemory",
    "activation_memory",
    "gradient_buffers",
    "memory_size",
    "misfits",
    "peak_memory",
    "role_memories",
]
