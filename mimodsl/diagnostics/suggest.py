"""Suggests known names for a misspelt name."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from mimodsl.diagnostics.diagnostic import Edit
from mimodsl.source import Span

_LONGEST_WORD: Final = 64
_MOST_KNOWN: Final = 512
_CLOSE: Final = 0.6
_CERTAIN: Final = 0.8


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`; `None` if no word is close."""
    return next(iter(_similar(word, tuple(known))), None)


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """A help line with the closest known name, if one is close."""
    match = closest(word, known)
    return (f"did you mean `{match}`?",) if match else ()


def unknown(sort: str, word: str, known: Iterable[str], otherwise: str = "") -> str:
    """An error for an unknown name, with the closest known name as help, or else `otherwise`."""
    dashes = "--" if word.startswith("--") else ""
    near = closest(word.removeprefix(dashes), [name.removeprefix(dashes) for name in known])
    hint = f"did you mean {dashes}{near}?" if near else otherwise
    return f"there is no {sort} {word}{hint and f'; {hint}'}"


def corrected(span: Span, known: Iterable[str]) -> tuple[Edit, ...]:
    """The edit to the intended name; none unless exactly one known name is certain.

    A certain name has almost the same letters, or the same letters in another order. Names with
    different digits, such as `vision_1` and `vision_2`, are never taken for each other.
    """
    word = span.text
    near = _similar(word, tuple(known))
    matches = [name for name, ratio in near.items() if ratio >= _CERTAIN]
    matches = matches or [name for name in near if sorted(name) == sorted(word)]
    same_digits = [name for name in matches if _digits(name) == _digits(word)]
    return (Edit(span, same_digits[0]),) if len(matches) == len(same_digits) == 1 else ()


@lru_cache(maxsize=1)  # the help line and the edit of a mistake ask the same question
def _similar(word: str, known: tuple[str, ...]) -> dict[str, float]:
    """The two closest known words with their similarity, 0 to 1; none for a very long word."""
    from difflib import (
        SequenceMatcher,
        get_close_matches,
    )  # slow to import, and needed only after a mistake

    if len(word) > _LONGEST_WORD:
        return {}
    lowered = {name.lower(): name for name in known[:_MOST_KNOWN] if len(name) <= _LONGEST_WORD}
    matches = get_close_matches(word.lower(), lowered, n=2, cutoff=_CLOSE)
    compared = SequenceMatcher(b=word.lower())
    ratios: dict[str, float] = {}
    for match in matches:
        compared.set_seq1(match)
        ratios[lowered[match]] = compared.ratio()
    return ratios


def _digits(word: str) -> str:
    return "".join(filter(str.isdigit, word))


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """Words in a row, each in backticks: `` `a`, `b` or `c` ``."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {conjunction} {quoted[-1]}"
