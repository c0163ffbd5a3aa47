"""Options that several subcommands share, and the checks of single values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import attrs

    from mimodsl.planner.time import Accelerator

from mimodsl.cli.parsing import Help


def request[T: attrs.AttrsInstance](kind: type[T], args: argparse.Namespace) -> T:
    """A request with the given options. The other options have the defaults of its class."""
    return kind(**given(kind, args))


def given(kind: type[attrs.AttrsInstance], args: argparse.Namespace) -> dict[str, Any]:
    """The given options that are fields of a class."""
    import attrs

    names = {field.name for field in attrs.fields(kind)}
    return {
        name: value for name, value in vars(args).items() if name in names and value is not None
    }


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], *, help: str, epilog: str
) -> argparse.ArgumentParser:
    """A parser for a subcommand, with the options that all subcommands share."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=Help,
    )
    parser.set_defaults(command=run, parser=parser)
    parser.add_argument(
        "--verbose", action="store_true", help="show tracebacks, and the output of libraries"
    )
    return parser


def add_spec(parser: argparse.ArgumentParser, *, standard_input: bool = False) -> None:
    """The spec that a subcommand reads. With `standard_input`, `-` is allowed."""
    words = "a .mimo or .json file"
    parser.add_argument(
        "spec",
        metavar="SPEC",
        type=spec_file_or_input if standard_input else spec_file,
        help=f"{words}; - is standard input" if standard_input else words,
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """The options of every subcommand that runs ranks."""
    from mimodsl.runtime.request import TIMEOUT

    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help=f"end the run when no rank reports anything for so long (default: {TIMEOUT:g})",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document; progress goes to standard error",
    )


def add_set(parser: argparse.ArgumentParser) -> None:
    """`--set name=value`, which overrides a `let` of the main file."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="NAME=VALUE",
        type=override,
        action="append",
        default=[],
        help="give a `let` of the spec another value (may be repeated)",
    )


def add_specs(parser: argparse.ArgumentParser) -> None:
    """Files and folders of specs, and `-`."""
    parser.add_argument(
        "specs",
        metavar="SPEC",
        nargs="+",
        type=spec_path,
        help="a file, or a folder for all files below it; - is standard input",
    )


def spec_path(text: str) -> Path:
    """The path of a file or folder, or `-`."""
    if text != "-" and not os.path.lexists(text):
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def code_list(text: str) -> list[str]:
    """Codes with commas between them."""
    return [code.strip().upper() for code in text.split(",") if code.strip()]


def spec_file(text: str) -> Path:
    """The path of a file."""
    if os.path.isdir(text):  # noqa: PTH112 - pathlib raises for a name that is too long
        raise argparse.ArgumentTypeError(f"{text} is a folder, not a .mimo file")
    if not os.path.exists(text):  # noqa: PTH110 - as above
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def spec_file_or_input(text: str) -> Path:
    """The path of a file, or `-`."""
    return Path(text) if text == "-" else spec_file(text)


def override(text: str) -> tuple[str, str]:
    """`name=value` as a pair."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or not value.strip():
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name, value


def natural(text: str) -> int:
    """An integer, 0 or more."""
    return _from(0, text)


def positive(text: str) -> int:
    """An integer, 1 or more."""
    return _from(1, text)


def _from(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected an integer from {least} on, found {text!r}")
    return number


def numbers(text: str) -> tuple[int, ...]:
    """Integers, 0 or more, with commas between them."""
    return tuple(natural(part.strip()) for part in text.split(","))


def span(text: str) -> tuple[int, int]:
    """`A:B`, from A to B, counted from 1; `A` alone is `A:A`."""
    first, colon, last = text.partition(":")
    numbers = positive(first), positive(last if colon else first)
    if numbers[0] > numbers[1]:
        raise argparse.ArgumentTypeError(f"expected A:B with A at most B, found {text!r}")
    return numbers


def memory_size(text: str) -> int:
    """Bytes of a size with a unit, or of the memory of a GPU, by its name."""
    from mimodsl.planner.memory.fit import memory_size
    from mimodsl.planner.time.accelerator import ACCELERATORS

    if text.lower() in ACCELERATORS:
        return ACCELERATORS[text.lower()].memory
    try:
        return memory_size(text)
    except ValueError as error:
        names = ", ".join(ACCELERATORS)
        raise argparse.ArgumentTypeError(f"{error}; or a GPU's name: {names}") from error


def gpu(text: str) -> Accelerator:
    """A GPU by name."""
    from mimodsl.planner.time.accelerator import ACCELERATORS

    if text.lower() not in ACCELERATORS:
        names = ", ".join(ACCELERATORS)
        raise argparse.ArgumentTypeError(f"expected one of {names}, found {text!r}")
    return ACCELERATORS[text.lower()]


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, found {text!r}")
    return number
