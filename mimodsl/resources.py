"""Where the grammar and shipped specs lie: in the package, or beside it in a checkout."""

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


def templates_folder() -> Path:
    """The folder of the specs that `mimodsl new` starts from."""
    return _first_that_exists(_PACKAGED / "templates", _CHECKOUT / "specs")


def _first_that_exists(packaged: Path, checkout: Path) -> Path:
    return packaged if packaged.exists() else checkout
