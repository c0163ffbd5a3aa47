"""Lays out lines of source on a screen, and maps characters to screen columns."""

from typing import Final
from unicodedata import category, combining, east_asian_width

from attrs import frozen

_TAB: Final = 4
_BEFORE: Final = 48
_MAX_WIDTH: Final = 140


@frozen(kw_only=True)
class ScreenLine:
    """A line as shown, and the screen column of each of its characters and of its end."""

    text: str
    columns: tuple[int, ...]

    def column(self, index: int) -> int:
        """The screen column of a character, by its index in the source line."""
        return self.columns[min(index, len(self.columns) - 1)]


def screen_line(line: str, focus: int) -> ScreenLine:
    """Lay out a line: tabs become spaces, and control characters become visible.

    Of a very long line, only the part around the character `focus` is shown.
    """
    first = max(0, focus - _BEFORE) if len(line) > _MAX_WIDTH else 0
    last = min(len(line), first + _MAX_WIDTH)
    parts = ["…"] if first else []
    column = len(parts)
    columns = [0] * first
    for character in line[first:last]:
        columns.append(column)
        shown, width = _shown(character, column)
        parts.append(shown)
        column += width
    columns.append(column)
    if last < len(line):
        parts.append("…")
    return ScreenLine(text="".join(parts), columns=tuple(columns))


def one_line(text: str) -> str:
    """Text that is safe in a line of output, even if it quotes a file."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    """The character, or a placeholder: control characters could affect the terminal."""
    control = category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "\N{REPLACEMENT CHARACTER}" if control else character


def _shown(character: str, column: int) -> tuple[str, int]:
    if character.isascii() and character.isprintable():
        return character, 1
    if character == "\t":
        width = _TAB - column % _TAB
        return " " * width, width
    visible = _visible(character)
    if combining(visible):
        return visible, 0
    return visible, 2 if east_asian_width(visible) in "WF" else 1
