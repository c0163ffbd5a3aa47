"""The known name that a mistyped one was probably meant to be."""

from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`; `None` where none is near."""
    from difflib import get_close_matches  # needed after a mistake only

    lowered = {name.lower(): name for name in known}
    matches = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """A help line with the nearest known name, or none."""
    match = closest(word, known)
    return (f"did you mean `{match}`?",) if match else ()


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """Words in a row, each as code: `` `a`, `b` or `c` ``."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {conjunction} {quoted[-1]}"
