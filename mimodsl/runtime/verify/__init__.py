"""Proves that a layout computes the model: the same training on one rank and on the spec's."""
