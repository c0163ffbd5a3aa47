"""How much memory a rank needs, and for what."""

from mimodsl.plan.memory.buffers import Buffer, gradient_buffers

__all__ = ["Buffer", "gradient_buffers"]
