"""What a syntax error says: what was found, what may stand there, and what to do."""

import re
from typing import Final, cast

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from mimodsl.diagnostics import Diagnostic, Edit, Label, codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import habits
from mimodsl.syntax.habits import OPERATORS, Found
from mimodsl.syntax.scan import KEYWORDS, Scan

_VALUE: Final = frozenset(
    ("INTEGER", "FLOAT", "SIZE", "STRING", "NAME", "MINUS", "LPAR", "LSQB", "LBRACE")
)
_OPERAND: Final = _VALUE - {"MINUS"}
_SIZE: Final = frozenset(("INTEGER", "NAME", "LPAR"))
_CLOSERS: Final = {"RBRACE": "{", "RPAR": "(", "RSQB": "["}

# In the order in which they are said.
_WORDS: Final = {
    "NAME": "a name",
    "INTEGER": "an integer",
    "STRING": "a string",
    "KIND": "a schedule such as `1f1b`",
    "RANKS": "`ranks`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "ARROW": "`->`",
    "STAR": "`*`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "FLOOR": "`//`",
    "PERCENT": "`%`",
    "VBAR": "`|`",
    "AMPERSAND": "`&`",
    "LPAR": "`(`",
    "LSQB": "`[`",
    "LBRACE": "`{`",
    "COMMA": "`,`",
    "_NL": "the end of the line",
    "RBRACE": "`}`",
    "RPAR": "`)`",
    "RSQB": "`]`",
}

_LOOKALIKES: Final = {
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{DOT OPERATOR}": "*",
    "\N{MIDDLE DOT}": "*",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "'": '"',
    "/": "//",
    ";": ",",
}


# A quotation mark has a partner, and a separator may stand where the language has none.
_CERTAIN: Final = ("*", "->", "-", " ")


def explain(error: UnexpectedInput, source: SourceFile, text: Scan, end: int) -> Diagnostic:
    """The diagnostic for what lark could not read in the scanned text, which ends at `end`."""
    if not isinstance(error, UnexpectedToken):
        return _character(source, cast(int, error.pos_in_stream))
    found = _found(error, source, end)
    if found.kind == "$END" and text.unclosed:
        return _unclosed(text.unclosed[-1], source, end)
    if found.kind == "KIND":
        return _not_a_number(source, found.span.start)
    if "MODULE" in found.accepted:
        return _no_declaration(found)
    if found.kind in _CLOSERS and found.wants("$END"):
        return codes.UNEXPECTED.at(found.span, f"this `{found.span.text}` closes nothing")
    expected = _expected(found)
    return codes.UNEXPECTED.at(
        found.span,
        f"expected {expected}, found {_words(found)}",
        help=habits.advice(found),
        edits=habits.edits(found),
    )


def _found(error: UnexpectedToken, source: SourceFile, end: int) -> Found:
    token = cast(Token, error.token)
    start = token.start_pos or 0
    if token.type == "$END":
        span = Span(source, _last_line_end(source, end), end)
    elif token.type == "_NL":
        span = Span(source, start, start)
    else:
        span = Span(source, start, start + len(token))
    return Found(kind=token.type, span=span, accepted=frozenset(error.accepts))


def _words(found: Found) -> str:
    if found.kind == "$END":
        return "the end of the file"
    return "the end of the line" if found.kind == "_NL" else _shown(found.span.text)


def _last_line_end(source: SourceFile, end: int) -> int:
    return len(source.text[:end].rstrip())


def _expected(found: Found) -> str:
    """What the parser accepts, in a user's words."""
    accepted = found.accepted
    if not found.in_view and ("$END" in accepted or "_NL" in accepted):
        accepted = accepted - OPERATORS
    words: list[str] = []
    for kinds, name in ((_VALUE, "a value"), (_OPERAND, "a value"), (_SIZE, "a size")):
        if kinds <= accepted:
            words.append(name)
            accepted = accepted - kinds
    if {"NAME", "LPAR"} <= accepted:
        words.append("a grid's name")
        accepted = accepted - {"NAME"}
    words += [word for kind, word in _WORDS.items() if kind in accepted]
    if not words:
        return "the end"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _unclosed(opener: Span, source: SourceFile, end: int) -> Diagnostic:
    closer = next(_WORDS[kind] for kind, text in _CLOSERS.items() if text == opener.text)
    place = _last_line_end(source, end)
    return codes.UNCLOSED.at(
        opener,
        f"this `{opener.text}` is never closed",
        "opened here",
        secondary=(Label(Span(source, place, place), f"{closer} expected after this"),),
        help=(f"close it with {closer}",),
    )


def _no_declaration(found: Found) -> Diagnostic:
    span = found.span
    word = span.text
    if found.kind in _CLOSERS:
        return codes.UNEXPECTED.at(span, f"this `{word}` closes nothing")
    advice = habits.advice(found) or did_you_mean(word, KEYWORDS)
    if not advice and re.match(r"[ \t]*=", span.file.text[span.end :]):
        advice = (f"a constant is declared with `let {word} = …`; a field belongs inside a block",)
    return codes.NO_DECLARATION.at(
        span,
        f"{_shown(word)} does not begin a declaration",
        notes=(f"a declaration begins with {listed(KEYWORDS)}",),
        help=advice,
        edits=corrected(span, KEYWORDS) if found.kind == "NAME" else (),
    )


def _character(source: SourceFile, place: int) -> Diagnostic:
    character = source.text[place]
    if character == '"':
        line_end = source.text.find("\n", place)
        end = len(source.text) if line_end < 0 else line_end
        return codes.BAD_STRING.at(
            Span(source, place, end),
            "the string is not closed on its line, or holds a control character",
            help=('close it with `"`; a quote inside is written `\\"`',),
        )
    if character.isascii() and (character.isdigit() or character == "."):
        return _not_a_number(source, place)
    meant = _LOOKALIKES.get(character)
    advice = (f"`{meant}` is perhaps what was meant",) if meant else ()
    if character.isspace():
        advice = ("only spaces, tabs and line breaks stand between words",)
        meant = " "
    if character.isalpha():
        advice = ("a name is made of the letters a to z and A to Z, digits and `_`",)
    return codes.UNKNOWN_CHARACTER.at(
        Span(source, place, place + 1),
        f"{_shown(character)} has no meaning here",
        help=advice,
        edits=(Edit(Span(source, place, place + 1), meant),) if meant in _CERTAIN else (),
    )


def _not_a_number(source: SourceFile, place: int) -> Diagnostic:
    match = re.compile(r"[\w.]+").match(source.text, place)
    assert match is not None
    span = Span(source, *match.span())
    thousands = re.fullmatch(r"([0-9]+)[kK]", span.text)
    return codes.BAD_NUMBER.at(
        span,
        f"{_shown(span.text)} is neither a number nor a name",
        help=(f"a number has no unit: `{thousands[1]} * 1024` or `{thousands[1]}_000`",)
        if thousands
        else (),
    )


def _shown(text: str) -> str:
    """Text of the file as it may stand in a message."""
    short = text if len(text) <= 40 else f"{text[:39]}…"
    if short.isprintable():
        return f"`{short}`"
    return " ".join(f"U+{ord(character):04X}" for character in short[:4])
