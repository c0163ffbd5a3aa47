"""Finds what the package cites of megatron-core, torch and others, and the lines that it means.

A citation names a file and a phrase of it: `transformer/moe/moe_layer.py, "num_local_experts ="`.
The file lies below `megatron/core`, or below site-packages where it starts with a package's name.
White space counts as one blank. `"a … b"` is the first b after a, and `"a" to "b"` the lines from
one to the other. Run `python -m tests.citations` to see each citation with its line.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
SITE: Final = Path(str(find_spec("torch").origin)).parents[1]
CORE: Final = SITE / "megatron" / "core"
PACKAGES: Final = ("torch", "transformers", "mamba_ssm", "transformer_engine")

_FILE: Final = r"(?<![\w/.])(?P<file>[A-Za-z_][\w/]*\.py)"
_PHRASE: Final = r'"[^"]+"(?: to "[^"]+")?'
CITATION: Final = re.compile(rf"{_FILE}, (?P<phrases>{_PHRASE}(?:, {_PHRASE})*)")
LINES: Final = re.compile(rf"{_FILE}:(?P<lines>\d+(?:-\d+)?(?:, ?\d+(?:-\d+)?)*)")
"""The form with line numbers, which goes where nothing uses it any more."""


class Cited(NamedTuple):
    """One phrase of a citation, and where the package has it."""

    where: str
    file: str
    phrase: str


class Text(NamedTuple):
    """A source with every run of white space as one blank, and the line of each character."""

    text: str
    lines: tuple[int, ...]


def cited() -> list[Cited]:
    """Every phrase that the package and the facts of the docs cite."""
    found: list[Cited] = []
    for where, text in passages():
        for match in CITATION.finditer(text):
            phrases = re.findall(_PHRASE, match["phrases"])
            found += [Cited(where, match["file"], phrase) for phrase in phrases]
    return found


def cited_lines() -> list[Cited]:
    """Every line number that the package cites, as `file`, `first-last`."""
    return [
        Cited(where, match["file"], lines.strip())
        for where, text in passages()
        for match in LINES.finditer(text)
        for lines in match["lines"].split(",")
    ]


def passages() -> Iterator[tuple[str, str]]:
    """Every comment and string of the package, on one line each, with its place."""
    for path in sorted((ROOT / "mimodsl").rglob("*.py")):
        name = path.relative_to(ROOT)
        for line, text in _passages(path.read_text(encoding="utf-8")):
            yield f"{name}:{line}", " ".join(text.split())
    facts = ROOT / "docs" / "megatron_facts.toml"
    if facts.exists():
        for number, line in enumerate(facts.read_text(encoding="utf-8").splitlines(), start=1):
            yield f"docs/megatron_facts.toml:{number}", line


def _passages(source: str) -> Iterator[tuple[int, str]]:
    """Comments over several lines are one, and so are strings beside each other."""
    kind, start, last, parts = 0, 0, 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        goes_on = token.type == kind and (kind == tokenize.STRING or token.start[0] == last + 1)
        if not goes_on and parts:
            yield start, ("\n" if kind == tokenize.COMMENT else "").join(parts)
            parts = []
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            kind, last = token.type, token.end[0]
            start = start if goes_on else token.start[0]
            parts.append(_content(token))
        else:
            kind = token.type
            if token.type == tokenize.FSTRING_MIDDLE:
                yield token.start[0], token.string


def _content(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.COMMENT:
        return token.string.lstrip("#: ")
    value = ast.literal_eval(token.string)
    return value if isinstance(value, str) else ""


def file_of(name: str) -> Path | None:
    """A cited file; none where its package is not installed. `ValueError` where it is missing."""
    package = name.partition("/")[0]
    if package in PACKAGES:
        if not (SITE / package).is_dir():
            return None
        path = SITE / name
    else:
        path = CORE / name
    if not path.is_file():
        raise ValueError(f"no file {name}")
    return path


@cache
def source(path: Path) -> Text:
    """The text of a file, in which phrases are looked for."""
    characters: list[str] = []
    lines: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = " ".join(line.split())
        if words:
            characters.append(f"{words} ")
            lines += [number] * (len(words) + 1)
    return Text("".join(characters), tuple(lines))


def lines_of(path: Path, phrase: str) -> range:
    """The lines that a phrase of a file means. `ValueError` where it is missing or ambiguous."""
    text = source(path)
    first, _, last = phrase.partition('" to "')
    start, end = _find(text.text, first.strip('"'))
    if last:
        _, end = _find(text.text, last.strip('"'))
    return range(text.lines[start], text.lines[end - 1] + 1)


def _find(text: str, phrase: str) -> tuple[int, int]:
    """Where a phrase begins and ends."""
    first, *others = re.split(r"\s*…\s*", " ".join(phrase.split()))
    start = text.find(first)
    if start < 0:
        raise ValueError(f"no phrase {first!r}")
    if text.find(first, start + 1) >= 0:
        raise ValueError(f"the phrase {first!r} stands there twice")
    end = start + len(first)
    for part in others:
        start = text.find(part, end)
        if start < 0:
            raise ValueError(f"no phrase {part!r} after {first!r}")
        end = start + len(part)
    return start, end


def place_lines(place: str) -> tuple[str, range]:
    """The file of a place of a rule or a fact, and its lines, whichever form it has."""
    match = CITATION.fullmatch(place)
    if match:
        path = file_of(match["file"])
        assert path, place
        return match["file"], lines_of(path, match["phrases"])
    name, _, lines = place.partition(":")
    first, _, last = lines.partition("-")
    return name, range(int(first), int(last or first) + 1)


def main() -> int:
    """Print each citation with its line; 1 where one leads nowhere."""
    wrong = 0
    for one in cited():
        try:
            path = file_of(one.file)
            line = "?" if path is None else lines_of(path, one.phrase).start
            print(f"{one.where}: {one.file}:{line} {one.phrase}")
        except ValueError as error:
            wrong = 1
            print(f"{one.where}: {one.file}: {error}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
