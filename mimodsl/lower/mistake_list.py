"""Collects the mistakes in a spec, up to a limit."""

from attrs import define, field

from mimodsl.diagnostics import Diagnostic, codes, in_order
from mimodsl.limits import MAX_MISTAKES
from mimodsl.source import Span


class TooManyMistakes(Exception):
    """Ends the lowering of a text with too many mistakes."""


@define(eq=False)
class MistakeList:
    """The mistakes that are reported while a spec is read and lowered."""

    _diagnostics: list[Diagnostic] = field(factory=list[Diagnostic], init=False)
    _full: bool = field(default=False, init=False)

    def report(self, diagnostic: Diagnostic) -> None:
        """Add a diagnostic. Raises `TooManyMistakes` at the limit."""
        if len(self._diagnostics) >= MAX_MISTAKES:
            self._full = True
            raise TooManyMistakes
        self._diagnostics.append(diagnostic)

    def in_order(self) -> tuple[Diagnostic, ...]:
        """The diagnostics by place; at the limit, the last one says that there are more."""
        ordered = in_order(self._diagnostics)
        if self._full:
            where = ordered[-1].primary.where
            assert isinstance(where, Span)
            words = "too many mistakes: the others are not shown"
            ordered.append(
                codes.TOO_MANY_MISTAKES.at(Span(where.file, where.end, where.end), words)
            )
        return tuple(ordered)
