"""Text to IR: `load` a file with all that it uses, or `parse` a text."""

from mimodsl.lower.loading import LoadedSpec, load, load_source, parse

__all__ = ["LoadedSpec", "load", "load_source", "parse"]
