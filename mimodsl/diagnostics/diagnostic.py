"""Diagnostics: data about mistakes. `render` turns them into text."""

from enum import StrEnum

from attrs import field, frozen

from mimodsl.source import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@frozen
class ObjectPath:
    """The place of a mistake in a spec made in Python, such as `modules.language.moe.experts`."""

    path: str

    def __str__(self) -> str:
        return self.path


type Where = Span | ObjectPath


@frozen
class Label:
    """A place with a short text about it; the text may be empty."""

    where: Where
    text: str = ""


@frozen
class Edit:
    """A replacement of a span of text that safely removes the mistake."""

    span: Span
    replacement: str


@frozen(kw_only=True)
class Diagnostic:
    """A mistake: the message states the fact, notes give context, help says what to do.

    `primary` is the place of the mistake; `secondary` are the places that it contradicts.
    """

    code: str
    severity: Severity = Severity.ERROR
    message: str
    primary: Label
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = field(default=())

    def __str__(self) -> str:
        """The diagnostic as the command line shows it, with its lines of source."""
        from mimodsl.diagnostics.render import full

        return full.render([self])

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


def in_order(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Diagnostics by file, place and code; those without a span come last."""

    def key(diagnostic: Diagnostic) -> tuple[bool, str, int, str]:
        where = diagnostic.primary.where
        if isinstance(where, Span):
            return False, where.file.path, where.start, diagnostic.code
        return True, where.path, 0, diagnostic.code

    return sorted(diagnostics, key=key)
