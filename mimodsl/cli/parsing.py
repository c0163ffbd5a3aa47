"""argparse as the command uses it: errors in two lines, and help that fits the terminal."""

import argparse
import re
import textwrap
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final, NoReturn, override

_WIDEST: Final = 100


class Help(argparse.HelpFormatter):
    """Text in filled paragraphs, as wide as the terminal, but at most 100 columns."""

    def __init__(self, prog: str, width: int | None = None) -> None:
        super().__init__(prog, width=width)
        self._width = min(self._width, _WIDEST)

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(textwrap.fill(part, width) for part in text.split("\n\n"))


class Parser(argparse.ArgumentParser):
    """A parser whose errors have two lines: what is wrong, and where the help is."""

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse a command line, by default that of this process. Exits with 2 if it is wrong."""
        args, unknown = self.parse_known_args(argv)
        used: Parser = vars(args).pop("parser", self)
        if unknown:
            used.error(used.refusal(unknown[0]))
        return args

    @override
    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] - two overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse, but an unknown option is reported first. Otherwise argparse would take the
        value after it for a file, and report that instead.
        """
        if self._subparsers is None:
            for word in takewhile(lambda word: word != "--", args or ()):
                name = word.partition("=")[0]
                if name.startswith("--") and name not in self._option_string_actions:
                    self.error(self.refusal(word))
        return super().parse_known_args(args, namespace)

    def refusal(self, argument: str) -> str:
        """The message for an argument that the command does not take."""
        if not argument.startswith("-"):
            return f"{argument} is one argument too many"
        from mimodsl.diagnostics.suggest import unknown

        return unknown("option", argument.partition("=")[0], self._option_string_actions)

    @override
    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = list(action.choices)
        if action.metavar == "COMMAND":
            from mimodsl.diagnostics.suggest import unknown

            raise argparse.ArgumentError(None, unknown("command", value, known))
        choices = f"{', '.join(known[:-1])} or {known[-1]}"
        raise argparse.ArgumentError(action, f"expected {choices}, found {value!r}")

    @override
    def error(self, message: str) -> NoReturn:
        from mimodsl.cli import terminal, trouble

        # The name of a positional argument helps nobody who has given the argument.
        text = re.sub(r"^argument ([A-Z]+: )?", "", message)
        terminal.complain(f"error: {text}", f"help: {self.prog} --help explains all options")
        self.exit(trouble.ABNORMAL)
