"""Text to IR: `load` a file with all that it uses, or `parse` a text."""

from mimodsl.ir.lower.entry import Loaded, load, parse

__all__ = ["Loaded", "load", "parse"]
