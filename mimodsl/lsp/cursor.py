"""What surrounds the cursor, found from the tokens, since the text may have syntax errors.

The parser needs complete declarations, and the declaration at the cursor is rarely complete.
"""

import re
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from mimodsl.source import SourceFile
from mimodsl.syntax.scan import declaration_lines

_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"?) | (?P<comment>\#[^\n]*)
      | (?P<break>\n) | (?P<word>\w[\w.]*) | (?P<sign>->|//|\S)""",
    re.VERBOSE,
)
_WORD: Final = re.compile(r"\w*")
_CONTINUING: Final = frozenset(["=", ":", "+", "-", "*", "//", "%", "->", "|", "&", "(", "["])


@define
class Braces:
    """An open block: the key and tag before it, its keys, and the tokens of the current entry."""

    key: str = ""
    tag: str | None = None
    keys: list[str] = field(factory=list[str])
    entry: list[str] = field(factory=list[str])
    brackets: int = 0


@frozen(kw_only=True)
class Cursor:
    """The surroundings of the cursor.

    `header` has the tokens of the declaration before its block, `blocks` the open blocks, and
    `entry` the tokens between the last separating line break or comma and the cursor. `start` to
    `end` is the word at the cursor. `string` means that the cursor is in a string.
    """

    header: tuple[str, ...]
    blocks: tuple[Braces, ...]
    entry: tuple[str, ...]
    start: int
    end: int
    string: bool = False

    @property
    def last(self) -> str:
        """The token before the word at the cursor."""
        return self.entry[-1] if self.entry else ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields of the innermost block, including those after the cursor."""
        return tuple(self.blocks[-1].keys) if self.blocks else ()


def cursor(source: SourceFile, offset: int) -> Cursor | None:
    """The surroundings of an offset; `None` in a comment."""
    text = source.text
    lines = declaration_lines(source)
    begin = max((line for line in lines if line <= offset), default=0)
    stop = min((line for line in lines if line > offset), default=len(text))
    start = offset - _word_length(text[begin:offset][::-1])
    end = offset + _word_length(text[offset:])
    stack = [Braces()]
    tokens = list(_TOKEN.finditer(text, begin, stop))
    before = [token for token in tokens if token.start() < start]
    last = before[-1] if before else None
    if last is not None and last.lastgroup == "comment" and offset <= last.end():
        return None
    string = last if last is not None and _in_string(last, offset) else None
    for token in before if last is None or (last.end() <= start and not string) else before[:-1]:
        _step(stack, token)
    result = Cursor(
        header=tuple(stack[0].entry),
        blocks=tuple(stack[1:]),
        entry=tuple(stack[-1].entry),
        start=string.start() if string else start,
        end=string.end() if string else end,
        string=string is not None,
    )
    _read_on(stack, (token for token in tokens if token.start() >= end))
    return result


def _word_length(text: str) -> int:
    """The length of the word at the start of a text."""
    match = _WORD.match(text)
    return match.end() if match else 0


def _in_string(token: re.Match[str], offset: int) -> bool:
    closed = len(token.group()) > 1 and token.group().endswith('"')
    return token.lastgroup == "string" and (offset < token.end() or not closed)


def _step(stack: list[Braces], token: re.Match[str]) -> None:
    here, text = stack[-1], token.group()
    if token.lastgroup == "comment":
        return
    if token.lastgroup == "break" or (text == "," and not here.brackets):
        if not here.brackets and here.entry and here.entry[-1] not in _CONTINUING:
            here.entry.clear()
        return
    if text == "{":
        stack.append(_opened(here.entry))
        return
    if text == "}":
        if len(stack) > 1:
            stack.pop()
        stack[-1].entry.append(text)
        return
    here.brackets = max(0, here.brackets + (text in "([") - (text in ")]"))
    if text == "=" and here.entry and len(stack) > 1:
        del here.entry[:-1]  # a key; the field before it may have no value yet
        here.keys.append(here.entry[0])
    here.entry.append(text)


def _opened(entry: list[str]) -> Braces:
    """The block that opens after `key =` or `key = tag`."""
    if "=" not in entry:
        return Braces()
    equal = entry.index("=")
    tag = entry[equal + 1] if len(entry) > equal + 1 else None
    return Braces(key=entry[equal - 1] if equal else "", tag=tag)


def _read_on(stack: list[Braces], tokens: Iterator[re.Match[str]]) -> None:
    """Read the keys of the innermost block after the cursor, up to its end."""
    depth = len(stack)
    stack[-1].entry.clear()
    stack[-1].brackets = 0
    for token in tokens:
        _step(stack, token)
        if len(stack) < depth:
            return
