"""Phrases that messages and help lines share."""

from collections.abc import Iterable


def code(text: object) -> str:
    """Text as it stands in a spec."""
    return f"`{text}`"


def either(options: Iterable[str], conjunction: str = "or") -> str:
    """Phrases in a row: `a, b or c`."""
    words = list(options)
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number of things: `1 layer`, `2 layers`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
