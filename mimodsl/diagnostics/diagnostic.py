"""What a diagnostic is: data about a mistake, rendered late."""

from enum import StrEnum

from attrs import field, frozen

from mimodsl.source import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@frozen
class ObjectPath:
    """Where a mistake lies in a spec that was made in Python: `modules.language.moe.experts`."""

    path: str

    def __str__(self) -> str:
        return self.path


type Where = Span | ObjectPath


@frozen
class Label:
    """A place and what is to be said of it; the text may be empty."""

    where: Where
    text: str = ""


@frozen
class Edit:
    """A replacement of one span of text that makes the mistake go away safely."""

    span: Span
    replacement: str


@frozen(kw_only=True)
class Diagnostic:
    """One mistake: the message states the fact, notes give context, help says what to do.

    `primary` is what the diagnostic is about; `secondary` is what it contradicts.
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
        """As the command line shows it, with the lines of source that it is about."""
        from mimodsl.diagnostics.render import full

        return full.render([self])

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


def in_order(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Sorted by file, place and code; mistakes without a span come last."""

    def key(diagnostic: Diagnostic) -> tuple[bool, str, int, str]:
        where = diagnostic.primary.where
        if isinstance(where, Span):
            return False, where.file.path, where.start, diagnostic.code
        return True, where.path, 0, diagnostic.code

    return sorted(diagnostics, key=key)
