"""Finds the grammar and the shipped specs: in the package, or beside it in a checkout."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_data"
_CHECKOUT = Path(__file__).parents[1]


def grammar_file() -> Path:
    """The grammar of `.mimo` files."""
    return _shipped("grammars") / "mimo.lark"


def specs_folder() -> Path:
    """The folder of the specs that `mimodsl new` copies."""
    return _shipped("specs")


def presets_folder() -> Path:
    """The folder of the presets that every spec can `use` as `presets/…`."""
    return specs_folder() / "presets"


def _shipped(folder: str) -> Path:
    packaged = _PACKAGED / folder
    return packaged if packaged.exists() else _CHECKOUT / folder
