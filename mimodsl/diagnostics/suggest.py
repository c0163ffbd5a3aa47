"""The known name that a mistyped one was probably meant to be."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from mimodsl.diagnostics.diagnostic import Edit
from mimodsl.source import Span

_LONGEST: Final = 64
_MOST: Final = 512
_NEAR: Final = 0.6
_CERTAIN: Final = 0.8


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`; `None` where none is near."""
    return next(iter(_near(word, tuple(known))), None)


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
    near = _near(word, tuple(known))
    matches = [name for name, ratio in near.items() if ratio >= _CERTAIN]
    matches = matches or [name for name in near if sorted(name) == sorted(word)]
    same = [one for one in matches if _digits(one) == _digits(word)]
    return (Edit(span, same[0]),) if len(matches) == len(same) == 1 else ()


@lru_cache(maxsize=1)  # what is told of a mistake and what would mend it ask the same in turn
def _near(word: str, known: tuple[str, ...]) -> dict[str, float]:
    """How near the two nearest known words are, 0 to 1; none for what is too long to compare."""
    from difflib import SequenceMatcher, get_close_matches  # needed after a mistake only

    if len(word) > _LONGEST:
        return {}
    lowered = {name.lower(): name for name in known[:_MOST] if len(name) <= _LONGEST}
    matches = get_close_matches(word.lower(), lowered, n=2, cutoff=_NEAR)
    compared = SequenceMatcher(b=word.lower())
    ratios: dict[str, float] = {}
    for match in matches:
        compared.set_seq1(match)
        ratios[lowered[match]] = compared.ratio()
    return ratios


def _digits(word: str) -> str:
    return "".join(filter(str.isdigit, word))


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """Words in a row, each as code: `` `a`, `b` or `c` ``."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {conjunction} {quoted[-1]}"
