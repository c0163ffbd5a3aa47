"""An encoder of handwritten digits that is not Megatron's, and digits to read."""
