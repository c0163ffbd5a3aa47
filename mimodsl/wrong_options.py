"""Options that do not go together, in words for Python callers and for the command line."""

from collections.abc import Callable
from typing import override

from attrs import frozen


class WrongOptions(ValueError):
    """Options of a call that do not go together, or that do not fit the spec.

    `text` names options in braces: `{save:DIR}` is `save` in Python and `--save DIR` for the
    command, and `{device:=meta}` is `device='meta'` and `--device meta`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text.format_map(_Options(_keyword)))

    @override
    def __reduce__(self) -> tuple[type["WrongOptions"], tuple[str]]:
        """Lets it come back from another process."""
        return WrongOptions, (self.text,)

    def as_flags(self, flag: Callable[[str], str]) -> str:
        """The message as the command line words it; `flag` gives the name of an option there."""

        def spell(name: str, value: str) -> str:
            return f"{flag(name)} {value.removeprefix('=')}".rstrip()

        return self.text.format_map(_Options(spell))


def literal(text: str) -> str:
    """A user's text as part of a message whose braces stand for options."""
    return text.replace("{", "{{").replace("}", "}}")


def _keyword(name: str, value: str) -> str:
    return f"{name}={value[1:]!r}" if value.startswith("=") else name


@frozen
class _Options:
    """What the braces of a text stand for."""

    spell: Callable[[str, str], str]

    def __getitem__(self, name: str) -> "_Option":
        return _Option(name, self.spell)


@frozen
class _Option:
    name: str
    spell: Callable[[str, str], str]

    @override
    def __format__(self, value: str) -> str:
        return self.spell(self.name, value)
