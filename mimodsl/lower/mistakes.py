"""Collects mistakes, up to as many as anyone reads."""

from attrs import define, field

from mimodsl.diagnostics import Diagnostic, codes, in_order
from mimodsl.limits import MAX_MISTAKES
from mimodsl.source import Span


class TooManyMistakes(Exception):
    """Ends the lowering of a text that is hardly a spec."""


@define
class Mistakes:
    """What is reported while a spec is read and lowered."""

    _found: list[Diagnostic] = field(factory=list[Diagnostic], init=False)
    _full: bool = field(default=False, init=False)

    def report(self, diagnostic: Diagnostic) -> None:
        """Raises `TooManyMistakes` where there are as many already."""
        if len(self._found) >= MAX_MISTAKES:
            self._full = True
            raise TooManyMistakes
        self._found.append(diagnostic)

    def in_order(self) -> tuple[Diagnostic, ...]:
        """By place; where there were too many, the last one says so."""
        ordered = in_order(self._found)
        if self._full:
            where = ordered[-1].primary.where
            assert isinstance(where, Span)
            words = "too many mistakes: there are more, which are not shown"
            ordered.append(
                codes.TOO_MANY_MISTAKES.at(Span(where.file, where.end, where.end), words)
            )
        return tuple(ordered)
