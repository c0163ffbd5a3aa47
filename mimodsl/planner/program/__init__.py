"""What a program that trains a spec is told: Megatron-Core's arguments, as plain values."""
