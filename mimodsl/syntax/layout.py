"""Lays out entries and comments on lines, with blank lines and aligned comments."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import evolve, frozen

from mimodsl.source import SourceFile, Span

INDENT: Final = "  "
_GAP: Final = "  "
_INLINE: Final = " \t\r\f"


@frozen(kw_only=True)
class Fragment:
    """The lines of a construct; they include the comments that lie in the `inner` spans."""

    lines: tuple[str, ...]
    inner: tuple[Span, ...] = ()

    def after(self, prefix: str) -> "Fragment":
        """The fragment with a prefix before its first line."""
        return evolve(self, lines=(prefix + self.lines[0], *self.lines[1:]))

    def before_break(self, suffix: str) -> "Fragment":
        """The fragment with a suffix after its last line."""
        return evolve(self, lines=(*self.lines[:-1], self.lines[-1] + suffix))


@frozen(kw_only=True)
class Entry:
    """A construct on lines of its own. Neighbours of the same `group` need no blank line between
    them.
    """

    span: Span
    fragment: Fragment
    group: str = ""


@frozen(kw_only=True)
class _Item:
    """A comment on its own lines, or an entry with the comment that follows on its line."""

    lines: tuple[str, ...]
    blank_before: bool
    entry: Entry | None = None
    trailing: str = ""


@frozen(kw_only=True)
class Region:
    """The inside of a file or of a pair of brackets, with its comments."""

    source: SourceFile
    start: int
    end: int
    comments: tuple[Span, ...]

    def opening(self, entries: list[Entry]) -> str:
        """The comment that follows the opening bracket on its line."""
        first = next(iter(self._own_comments(entries)), None)
        if first is None or self.start == 0 or not self._follows(self.start, first, _INLINE):
            return ""
        return _GAP + first.text

    def body(self, entries: list[Entry], *, blank_between: bool = False) -> tuple[str, ...]:
        """The lines of all entries and comments.

        Several blank lines become one. With `blank_between`, a blank line separates all entries;
        neighbours of the same group keep the blank lines that they have.
        """
        items = list(self._items(entries))
        if blank_between:
            items = list(_separated(items))
        return tuple(_lines(items))

    def _between(self, start: int, end: int) -> str:
        return self.source.text[start:end]

    def _follows(self, position: int, comment: Span, allowed: str) -> bool:
        """Whether nothing but `allowed` characters lies between a position and a comment."""
        return not self._between(position, comment.start).strip(allowed)

    def _own_comments(self, entries: list[Entry]) -> Iterator[Span]:
        """The comments of this region that are not inside an entry."""
        inner = [span for entry in entries for span in entry.fragment.inner]
        starts = [span.start for span in inner]
        for comment in within(self.comments, self.start, self.end):
            index = bisect_left(starts, comment.start) - 1
            if index < 0 or comment.start >= inner[index].end:
                yield comment

    def _items(self, entries: list[Entry]) -> Iterator[_Item]:
        comments = list(self._own_comments(entries))
        position = comments.pop(0).end if self.opening(entries) else self.start
        at_start = True
        for entry in entries:
            leading = _take(comments, entry.span.end)
            for comment in leading:
                yield self._comment(comment, position, entry.span, first=at_start)
                position, at_start = max(position, min(comment.end, entry.span.start)), False
            trailing = self._trailing(comments, entry)
            yield _Item(
                lines=entry.fragment.lines,
                blank_before=not at_start and self._blank(position, entry.span.start),
                entry=entry,
                trailing=trailing.text if trailing else "",
            )
            position, at_start = trailing.end if trailing else entry.span.end, False
        for comment in comments:
            blank = not at_start and self._blank(position, comment.start)
            yield _Item(lines=(comment.text,), blank_before=blank)
            position, at_start = comment.end, False

    def _comment(self, comment: Span, position: int, entry: Span, *, first: bool) -> _Item:
        """A comment before an entry. A comment inside an entry moves before it."""
        start = min(comment.start, entry.start)
        blank = not first and self._blank(position, start)
        return _Item(lines=(comment.text,), blank_before=blank)

    def _blank(self, start: int, end: int) -> bool:
        return self._between(start, end).count("\n") > 1

    def _trailing(self, comments: list[Span], entry: Entry) -> Span | None:
        """Remove and return the comment that follows an entry on its line."""
        if not comments or not self._follows(entry.span.end, comments[0], _INLINE + ","):
            return None
        return comments.pop(0)


def within(comments: tuple[Span, ...], start: int, end: int) -> tuple[Span, ...]:
    """The comments, in order, that begin inside a part of the text."""
    first = bisect_left(comments, start, key=lambda comment: comment.start)
    last = bisect_left(comments, end, key=lambda comment: comment.start)
    return comments[first:last]


def _take(comments: list[Span], end: int) -> list[Span]:
    """Remove and return the comments that begin before `end`."""
    count = bisect_left(comments, end, key=lambda comment: comment.start)
    taken = comments[:count]
    del comments[:count]
    return taken


def _separated(items: list[_Item]) -> Iterator[_Item]:
    following = [item.entry for item in items if item.entry is not None]
    previous: Entry | None = None
    after_entry = False
    for item in items:
        upcoming = following[0] if following else None
        same_group = previous and upcoming and previous.group and previous.group == upcoming.group
        yield evolve(item, blank_before=True) if after_entry and not same_group else item
        after_entry = item.entry is not None
        if item.entry is not None:
            previous = following.pop(0)


def _lines(items: Iterable[_Item]) -> Iterator[str]:
    for run in _runs(items):
        widths = [len(item.lines[0]) for item in run if item.trailing and len(item.lines) == 1]
        column = max(widths, default=0)
        if run[0].blank_before:
            yield ""
        for item in run:
            yield from item.lines[:-1]
            width = column if len(item.lines) == 1 and item.trailing else 0
            yield f"{item.lines[-1]:{width}}" + (_GAP + item.trailing if item.trailing else "")


def _runs(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Groups of items that have no blank line between them."""
    run: list[_Item] = []
    for item in items:
        if item.blank_before and run:
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def indented(lines: Iterable[str]) -> Iterator[str]:
    return (INDENT + line if line else line for line in lines)
