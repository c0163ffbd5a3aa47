"""Corrections of megatron-core: what it does, why that hurts, and what we do instead."""
