"""Semantic tokens: the kind of every word, for editors that colour text by it."""

from collections.abc import Iterator
from typing import Any, Final, cast

import attrs
from lsprotocol import types

from mimodsl.lower.evaluate import LITERAL_WORDS
from mimodsl.lower.names import NamedDeclaration
from mimodsl.lsp.names import occurrences
from mimodsl.lsp.specs import Analysis
from mimodsl.source import Span
from mimodsl.syntax import ast
from mimodsl.syntax.scan import KEYWORDS, declaration_lines

_Kind = types.SemanticTokenTypes
_SORTS: Final[dict[type[NamedDeclaration], _Kind]] = {
    ast.Let: _Kind.Variable,
    ast.Grid: _Kind.Struct,
    ast.Preset: _Kind.Type,
    ast.Module: _Kind.Class,
}
_VALUES: Final[dict[type[ast.Syntax], _Kind]] = {
    ast.Integer: _Kind.Number,
    ast.Float: _Kind.Number,
    ast.Size: _Kind.Number,
    ast.String: _Kind.String,
}
_KINDS: Final = (
    *_SORTS.values(),
    _Kind.Keyword,
    _Kind.Comment,
    _Kind.String,
    _Kind.Number,
    _Kind.Property,
    _Kind.TypeParameter,
    _Kind.EnumMember,
)
LEGEND: Final = types.SemanticTokensLegend([str(kind.value) for kind in _KINDS], [])


def tokens(analysis: Analysis) -> types.SemanticTokens:
    """Every word with its kind. In a broken declaration, only its keyword and comments."""
    file = analysis.main.file
    kinds: dict[Span, _Kind] = dict.fromkeys(file.comments, _Kind.Comment)
    kinds |= dict.fromkeys(_keywords(analysis), _Kind.Keyword)
    for declaration in file.declarations:
        kinds |= _words(declaration)
    kinds |= {
        occurrence.span: _SORTS[occurrence.symbol.sort]
        for occurrence in occurrences(file, analysis.scope)
    }
    return types.SemanticTokens(data=list(_encoded(kinds, analysis)))


def _keywords(analysis: Analysis) -> Iterator[Span]:
    """The keywords of all declarations, broken or not."""
    text = analysis.source.text
    for line in declaration_lines(analysis.source):
        start = line + len(text[line:]) - len(text[line:].lstrip())
        word = next((keyword for keyword in KEYWORDS if text.startswith(keyword, start)), "")
        yield Span(analysis.source, start, start + len(word))


def _words(node: ast.Syntax) -> Iterator[tuple[Span, _Kind]]:
    """The words in a part of the tree whose kind follows from the tree alone."""
    if type(node) in _VALUES:
        yield node.span, _VALUES[type(node)]
    match node:
        case ast.Word():
            is_literal = node.text in (*LITERAL_WORDS, "_")
            yield node.span, _Kind.Keyword if is_literal else _Kind.EnumMember
        case ast.Field(key=name) | ast.View(name=name):
            yield name.span, _Kind.Property
        case ast.Ranks(span=span):
            yield Span(span.file, span.start, span.start + len("ranks")), _Kind.Property
        case ast.Axis(name=name):
            yield name.span, _Kind.TypeParameter
        case ast.Preset(base=name) | ast.Module(base=name) | ast.Block(tag=ast.Name() as name):
            yield name.span, _Kind.Type
        case ast.Schedule(kind=name):
            yield name.span, _Kind.EnumMember
        case _:
            pass
    for part in _parts(attrs.astuple(node, recurse=False)):
        yield from _words(part)


def _parts(values: tuple[Any, ...]) -> Iterator[ast.Syntax]:
    """The nodes among some values and in tuples of values."""
    for value in values:
        if isinstance(value, ast.Syntax):
            yield value
        elif isinstance(value, tuple):
            yield from _parts(cast("tuple[Any, ...]", value))


def _encoded(kinds: dict[Span, _Kind], analysis: Analysis) -> Iterator[int]:
    """Five numbers per word: line and character relative to the word before, length, kind, 0."""
    line = character = 0
    for span in sorted(kinds, key=lambda span: span.start):
        place = analysis.positions.of(span)
        if place.start.line > line:
            character = 0
        yield place.start.line - line
        yield place.start.character - character
        yield place.end.character - place.start.character
        yield _KINDS.index(kinds[span])
        yield 0
        line, character = place.start.line, place.start.character
