"""Text to IR: `load` a file with all that it uses, or `parse` a text."""

from mimodsl.lower.entry import Loaded, load, load_source, parse

__all__ = ["Loaded", "load", "load_source", "parse"]
