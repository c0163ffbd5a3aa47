"""Builds the parser from the grammar, and drops the line breaks that separate nothing."""

from collections.abc import Iterator
from functools import cache
from typing import Final

from lark import Lark, TextSlice, Token, Tree

from mimodsl.resources import grammar_file
from mimodsl.source import SourceFile
from mimodsl.syntax.parser_cache import cached_parser

FILE: Final = "start"
VALUE: Final = "value"

_OPENING: Final = {"LBRACE": "RBRACE", "LPAR": "RPAR", "LSQB": "RSQB"}
_OPERATORS: Final = frozenset(
    ("EQUAL", "COLON", "PLUS", "MINUS", "STAR", "FLOOR", "PERCENT", "ARROW", "VBAR", "AMPERSAND")
)
_NO_BREAK_AFTER: Final = _OPERATORS | {"_NL", "LBRACE", "COMMA"}


class LineBreaks:
    """Passes on only the line breaks that separate two declarations or fields."""

    always_accept: Final = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        closers: list[str] = []
        previous = "_NL"
        for token in stream:
            if token.type == "_NL":
                inside_brackets = bool(closers) and closers[-1] != "RBRACE"
                if inside_brackets or previous in _NO_BREAK_AFTER:
                    continue
            elif token.type in _OPENING:
                closers.append(_OPENING[token.type])
            elif closers and token.type == closers[-1]:
                closers.pop()
            previous = token.type
            yield token


@cache
def grammar() -> Lark:
    """The parser of `.mimo` text, built or loaded once per process."""
    text = grammar_file().read_text(encoding="utf-8")
    return cached_parser(text, lambda: _build_parser(text))


def _build_parser(text: str) -> Lark:
    return Lark(
        text,
        parser="lalr",
        start=[FILE, VALUE],
        postlex=LineBreaks(),  # pyright: ignore[reportArgumentType]
        propagate_positions=True,
        maybe_placeholders=False,
    )


def tree(source: SourceFile, start: int, end: int, rule: str) -> Tree[Token]:
    """The tree of part of a file. Raises lark's `UnexpectedInput` for a syntax error."""
    return grammar().parse(TextSlice(source.text, start, end), start=rule)  # pyright: ignore[reportUnknownMemberType]
