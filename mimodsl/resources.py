"""Where the grammar and the shipped presets lie: in the package, or beside it in a checkout."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_data"
_CHECKOUT = Path(__file__).parents[1]


def grammar_file() -> Path:
    """The grammar of `.mimo` specs."""
    return _first_that_exists(
        _PACKAGED / "grammars" / "mimo.lark", _CHECKOUT / "grammars" / "mimo.lark"
    )


def presets_folder() -> Path:
    """The folder of the presets that any spec may `use` as `presets/…`."""
    return _first_that_exists(_PACKAGED / "presets", _CHECKOUT / "specs" / "presets")


def _first_that_exists(packaged: Path, checkout: Path) -> Path:
    return packaged if packaged.exists() else checkout
