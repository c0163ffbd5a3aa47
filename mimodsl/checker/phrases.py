"""Phrases that messages and help lines share."""

from collections.abc import Iterable


def code(text: object) -> str:
    """Text of a spec in backticks."""
    return f"`{text}`"


def either(options: Iterable[str], conjunction: str = "or") -> str:
    """Phrases in a row: `a, b or c`."""
    phrases = list(options)
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} {conjunction} {phrases[-1]}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: `1 layer`, `2 layers`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
