"""The values from which a program trains a spec: Megatron-Core's arguments, in plain form."""
