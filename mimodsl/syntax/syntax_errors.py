"""Turns a syntax error into a diagnostic: what was found, what was expected, and what to do."""

import re
from typing import Final, cast

from lark import Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from mimodsl.diagnostics import Diagnostic, Edit, Label, codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.advice import OPERATORS, UnexpectedText, advice, certain_edits
from mimodsl.syntax.scan import KEYWORDS, Scan

_VALUE: Final = frozenset(
    ("INTEGER", "FLOAT", "SIZE", "STRING", "NAME", "MINUS", "LPAR", "LSQB", "LBRACE")
)
_OPERAND: Final = _VALUE - {"MINUS"}
_SIZE: Final = frozenset(("INTEGER", "NAME", "LPAR"))
_CLOSERS: Final = {"RBRACE": "{", "RPAR": "(", "RSQB": "["}

# In the order in which a message lists them.
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


# Replacements that are certain. A quotation mark also needs a second one, and a separator may stand
# where the language has none.
_CERTAIN: Final = ("*", "->", "-", " ")


def explain(error: UnexpectedInput, source: SourceFile, text_scan: Scan, end: int) -> Diagnostic:
    """The diagnostic for lark's error in a text that was scanned and ends at `end`."""
    if not isinstance(error, UnexpectedToken):
        return _character(source, cast(int, error.pos_in_stream))
    unexpected = _unexpected_text(error, source, end)
    if unexpected.kind == "$END" and text_scan.unclosed:
        return _unclosed(text_scan.unclosed[-1], source, end)
    if unexpected.kind == "KIND":
        return _not_a_number(source, unexpected.span.start)
    if "MODULE" in unexpected.accepted:
        return _no_declaration(unexpected)
    if unexpected.kind in _CLOSERS and unexpected.wants("$END"):
        return codes.UNEXPECTED.at(unexpected.span, f"this `{unexpected.span.text}` closes nothing")
    expected = _expected(unexpected)
    return codes.UNEXPECTED.at(
        unexpected.span,
        f"expected {expected}, found {_words(unexpected)}",
        help=advice(unexpected),
        edits=certain_edits(unexpected),
    )


def _unexpected_text(error: UnexpectedToken, source: SourceFile, end: int) -> UnexpectedText:
    token = cast(Token, error.token)
    start = token.start_pos or 0
    if token.type == "$END":
        span = Span(source, _last_line_end(source, end), end)
    elif token.type == "_NL":
        span = Span(source, start, start)
    else:
        span = Span(source, start, start + len(token))
    return UnexpectedText(kind=token.type, span=span, accepted=frozenset(error.accepts))


def _words(unexpected: UnexpectedText) -> str:
    if unexpected.kind == "$END":
        return "the end of the file"
    return "the end of the line" if unexpected.kind == "_NL" else _shown(unexpected.span.text)


def _last_line_end(source: SourceFile, end: int) -> int:
    return len(source.text[:end].rstrip())


def _expected(unexpected: UnexpectedText) -> str:
    """What the parser accepts here, in a user's words."""
    accepted = unexpected.accepted
    if not unexpected.in_view and ("$END" in accepted or "_NL" in accepted):
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


def _no_declaration(unexpected: UnexpectedText) -> Diagnostic:
    span = unexpected.span
    word = span.text
    if unexpected.kind in _CLOSERS:
        return codes.UNEXPECTED.at(span, f"this `{word}` closes nothing")
    help_lines = advice(unexpected) or did_you_mean(word, KEYWORDS)
    if not help_lines and re.match(r"[ \t]*=", span.file.text[span.end :]):
        help_lines = (
            f"a constant is declared with `let {word} = …`; a field belongs inside a block",
        )
    return codes.NO_DECLARATION.at(
        span,
        f"{_shown(word)} does not begin a declaration",
        notes=(f"a declaration begins with {listed(KEYWORDS)}",),
        help=help_lines,
        edits=corrected(span, KEYWORDS) if unexpected.kind == "NAME" else (),
    )


def _character(source: SourceFile, offset: int) -> Diagnostic:
    character = source.text[offset]
    if character == '"':
        line_end = source.text.find("\n", offset)
        end = len(source.text) if line_end < 0 else line_end
        return codes.BAD_STRING.at(
            Span(source, offset, end),
            "the string is not closed on its line, or contains a control character",
            help=('close it with `"`; a quote inside is written `\\"`',),
        )
    if character.isascii() and (character.isdigit() or character == "."):
        return _not_a_number(source, offset)
    replacement = _LOOKALIKES.get(character)
    help_lines = (f"did you mean `{replacement}`?",) if replacement else ()
    if character.isspace():
        help_lines = ("use only spaces, tabs and line breaks between words",)
        replacement = " "
    if character.isalpha():
        help_lines = ("a name has only the letters a to z and A to Z, digits and `_`",)
    return codes.UNKNOWN_CHARACTER.at(
        Span(source, offset, offset + 1),
        f"{_shown(character)} has no meaning here",
        help=help_lines,
        edits=(Edit(Span(source, offset, offset + 1), replacement),)
        if replacement in _CERTAIN
        else (),
    )


def _not_a_number(source: SourceFile, offset: int) -> Diagnostic:
    match = re.compile(r"[\w.]+").match(source.text, offset)
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
    """Text of the file in the form that a message may contain."""
    short = text if len(text) <= 40 else f"{text[:39]}…"
    if short.isprintable():
        return f"`{short}`"
    return " ".join(f"U+{ord(character):04X}" for character in short[:4])
