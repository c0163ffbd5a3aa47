"""Hostile texts by the hundred thousand: each follows from its number alone."""

import random
import re
import string
from collections.abc import Callable

from mimodsl.ir.registry import KINDS
from mimodsl.resources import presets_folder
from mimodsl.syntax.scan import KEYWORDS

_SPECS = presets_folder().parent
SEEDS = tuple(path.read_text() for path in sorted(_SPECS.rglob("*.mimo")))
TOKENS = tuple(re.findall(r'"[^"\n]*"|\w+|\n|[^\w\s]', "\n".join(SEEDS)))
NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "64", "1048576", "2147483647", "4611686018427387904",
    "9223372036854775807", "9223372036854775808", "9" * 40, "9" * 5_000, "1e308", "1e309", "0.5",
    "0x0", "1x1", "512x512", "9223372036854775807x1", "00", "1_000", "_", "1.", "1__0", "none",
)  # fmt: skip
STRANGE = (
    "\0", "\x1b[31m", "\x7f", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\ufeff", "\u202e",
    "\u200f", "\u200b", "\u0301", "e\u0301" * 20, "\U0001f600", "\ufffe", "\U0010ffff", "ａ", "²",
    "٣", "×", "–", "→", "“", "”", "·", "ﬁ", '"\\ud800"', '"\\u0000"', '"\\x"', "\N{NO-BREAK SPACE}",
)  # fmt: skip
MARKS = ("{", "}", "(", ")", "[", "]", '"', "=", ":", ",", "|", "&", "*", "->", "//", "#", "_")


def text(number: int) -> str | bytes:
    """The text with a number; bytes where they may not be UTF-8."""
    chance = random.Random(number)
    return chance.choices(tuple(_MAKERS), tuple(_MAKERS.values()))[0](chance)


def _mutated(chance: random.Random) -> str:
    """A spec with some places cut, doubled, moved or replaced."""
    found = chance.choice(SEEDS)
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(found) + 1)
        end = min(len(found), start + chance.choice((0, 0, 1, 2, 5, 20, 200)))
        found = found[:start] + _junk(chance, found[start:end]) + found[end:]
    return found


def _junk(chance: random.Random, old: str) -> str:
    return chance.choice(
        (
            lambda: "",
            lambda: old * 2,
            lambda: old[::-1],
            lambda: chance.choice(NUMBERS),
            lambda: chance.choice(STRANGE),
            lambda: chance.choice(MARKS),
            lambda: chance.choice(KEYWORDS) + " ",
            lambda: chance.choice(TOKENS),
            lambda: "".join(chance.choices(string.printable, k=chance.randint(1, 9))),
        )
    )()


def _other_numbers(chance: random.Random) -> str:
    """A spec that still parses, mostly, with sizes that nobody has."""
    share = chance.choice((0.02, 0.1, 0.5))
    return re.sub(
        r"\b\d+\b",
        lambda found: chance.choice(NUMBERS) if chance.random() < share else found[0],
        chance.choice(SEEDS),
    )


def _powers_of_two(chance: random.Random) -> str:
    """A spec whose layouts are sound or nearly so, at every size up to the largest."""
    return re.sub(
        r"(?<=[:=] )\d+\b|(?<=:)\d+\b|(?<== )\d+\b",
        lambda found: str(2 ** chance.randint(0, 62)) if chance.random() < 0.2 else found[0],
        chance.choice(SEEDS),
    )


def _other_words(chance: random.Random) -> str:
    """A spec with words and names of others in the place of its own."""
    words = tuple(set(re.findall(r"[a-z_]\w+", "\n".join(SEEDS)))) + tuple(KINDS)
    words = tuple(sorted(words))
    return re.sub(
        r"\b[a-z_]\w+\b",
        lambda found: chance.choice(words) if chance.random() < 0.03 else found[0],
        chance.choice(SEEDS),
    )


def _lines(chance: random.Random) -> str:
    """Lines of all specs in another order."""
    lines = [line for seed in SEEDS for line in seed.splitlines()]
    return "\n".join(chance.choices(lines, k=chance.randint(1, 60)))


def _tokens(chance: random.Random) -> str:
    found = chance.choices(TOKENS, k=chance.randint(1, 300))
    return " ".join(found) if chance.random() < 0.5 else "".join(found)


def _nested(chance: random.Random) -> str:
    depth = chance.choice((1, 30, 31, 32, 33, 34, 200, 2_000))
    opening, closing = chance.choice(("()", "[]", "{}", ("{ a = ", " }"), ("( - ", ")"), ("[", "")))
    before = chance.choice(("let x = ", "place ", "train ", ""))
    return f"{before}{opening * depth}1{closing * depth}\n"


def _repeated(chance: random.Random) -> str:
    piece = "".join(chance.choices(TOKENS + STRANGE, k=chance.randint(1, 8)))
    return chance.choice(("", "let x = ", "grid g {\n")) + piece * chance.choice((2, 50, 400))


def _unicode(chance: random.Random) -> str:
    points = (chance.choice((0x7F, 0x7FF, 0xFFFF, 0x10FFFF)) for _ in range(chance.randint(0, 200)))
    found = "".join(map(chr, map(chance.randint, [0] * 300, points)))
    return found.encode("utf-8", "replace").decode()


def _bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 2, 10, 300, 5_000)))


def _broken_bytes(chance: random.Random) -> bytes:
    found = bytearray(chance.choice(SEEDS).encode())
    for _ in range(chance.randint(1, 3)):
        found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


_MAKERS: dict[Callable[[random.Random], str | bytes], int] = {
    _mutated: 30,
    _other_numbers: 15,
    _powers_of_two: 15,
    _other_words: 10,
    _lines: 6,
    _tokens: 6,
    _nested: 3,
    _repeated: 5,
    _unicode: 4,
    _bytes: 3,
    _broken_bytes: 3,
}
