"""The known name that a mistyped one was probably meant to be."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from mimodsl.diagnostics.diagnostic import Edit
from mimodsl.source import Span

_LONGEST: Final = 64
_MOST: Final = 512
_NEAR: Final = 0.6
_CERTAIN: Final = 0.8


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`; `None` where none is near."""
    return next(iter(_near(word, known, _NEAR)), None)


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """A help line with the nearest known name, or none."""
    match = closest(word, known)
    return (f"did you mean `{match}`?",) if match else ()


def corrected(span: Span, known: Iterable[str]) -> tuple[Edit, ...]:
    """The edit to the one known name that a word must have been meant to be, or none.

    It has nearly the same letters, or the same in another order. Names that differ in their digits,
    such as `vision_1` and `vision_2`, are different things.
    """
    word = span.text
    names = tuple(known)
    matches = _near(word, names, _CERTAIN)
    matches = matches or [one for one in _near(word, names, _NEAR) if sorted(one) == sorted(word)]
    same = [one for one in matches if _digits(one) == _digits(word)]
    return (Edit(span, same[0]),) if len(matches) == len(same) == 1 else ()


def _near(word: str, known: Iterable[str], cutoff: float) -> list[str]:
    """The known words near to a word, the nearest first; none for what is too long to compare."""
    from difflib import get_close_matches  # needed after a mistake only

    if len(word) > _LONGEST:
        return []
    lowered = {name.lower(): name for name in islice(known, _MOST) if len(name) <= _LONGEST}
    matches = get_close_matches(word.lower(), lowered, n=2, cutoff=cutoff)
    return [lowered[match] for match in matches]


def _digits(word: str) -> str:
    return "".join(filter(str.isdigit, word))


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """Words in a row, each as code: `` `a`, `b` or `c` ``."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {conjunction} {quoted[-1]}"
