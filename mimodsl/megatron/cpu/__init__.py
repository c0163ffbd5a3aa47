"""Megatron-Core on a CPU: a meaning for every use of CUDA and NCCL, in a process that asks."""
