"""Text to syntax tree. A mistake costs the declaration that it is in, and nothing else."""

import re
from itertools import pairwise
from typing import cast

from attrs import frozen
from lark import Token, Tree
from lark.exceptions import UnexpectedInput

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.limits import MAX_CHARACTERS, MAX_DEPTH, MAX_MISTAKES
from mimodsl.source import SourceFile, Span
from mimodsl.syntax import ast
from mimodsl.syntax.builder import Builder, Unreadable
from mimodsl.syntax.grammar import FILE, VALUE, tree
from mimodsl.syntax.mistakes import explain
from mimodsl.syntax.scan import KEYWORDS, Scan, declaration_lines, scan


@frozen(kw_only=True)
class Parsed:
    """What could be read of a file, and what could not."""

    file: ast.File
    diagnostics: tuple[Diagnostic, ...]


@frozen(kw_only=True)
class _Piece:
    """The outcome for one stretch of text."""

    declarations: tuple[ast.Declaration, ...] = ()
    broken: tuple[ast.Broken, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def parse_source(source: SourceFile) -> Parsed:
    """Parse a file; each broken declaration gives one diagnostic."""
    if len(source.text) > MAX_CHARACTERS:
        return _too_large(source)
    whole = scan(source, 0, len(source.text))
    pieces = _pieces(source, whole)
    file = ast.File(
        source=source,
        declarations=tuple(one for piece in pieces for one in piece.declarations),
        broken=tuple(one for piece in pieces for one in piece.broken),
        comments=whole.comments,
    )
    return Parsed(
        file=file, diagnostics=tuple(one for piece in pieces for one in piece.diagnostics)
    )


def parse_value(source: SourceFile, start: int) -> ast.Value | Diagnostic:
    """Parse text that, from `start` on, is one value and nothing else."""
    end = len(source.text)
    found = scan(source, start, end)
    if found.too_deep is not None:
        return _nested_too_deeply(found.too_deep)
    try:
        return Builder(source).value(tree(source, start, end, VALUE))
    except UnexpectedInput as error:
        return explain(error, source, found, end)
    except Unreadable as error:
        return error.diagnostic


def _too_large(source: SourceFile) -> Parsed:
    size = f"{len(source.text):,} characters, the limit is {MAX_CHARACTERS:,}"
    mistake = codes.UNREADABLE.at(Span(source, 0, 0), f"the file is too large: {size}")
    broken = ast.Broken(keyword=None, name=None, span=Span(source, 0, len(source.text)))
    file = ast.File(source=source, declarations=(), broken=(broken,))
    return Parsed(file=file, diagnostics=(mistake,))


def _pieces(source: SourceFile, whole: Scan) -> list[_Piece]:
    """The whole file in one go if it parses; else stretch by stretch, as declarations begin."""
    end = len(source.text)
    if whole.too_deep is None:
        try:
            return [_parse(source, 0, end)]
        except UnexpectedInput:
            pass
    bounds = sorted({0, *declaration_lines(source), end})
    pieces: list[_Piece] = []
    mistakes = 0
    for start, stop in pairwise(bounds):
        if mistakes >= MAX_MISTAKES:
            return [*pieces, _lost(source, start, end, _too_many_mistakes(source, start))]
        pieces.append(_read(source, start, stop))
        mistakes += len(pieces[-1].diagnostics)
    return pieces


def _parse(source: SourceFile, start: int, end: int) -> _Piece:
    """Parse a stretch of text. Raises lark's `UnexpectedInput` where it does not parse."""
    branches = cast(list[Tree[Token]], tree(source, start, end, FILE).children)
    builder = Builder(source)
    declarations: list[ast.Declaration] = []
    broken: list[ast.Broken] = []
    diagnostics: list[Diagnostic] = []
    for branch in branches:
        try:
            declarations.append(builder.declaration(branch))
        except Unreadable as error:
            diagnostics.append(error.diagnostic)
            broken.append(_broken(builder.span(branch)))
    return _Piece(
        declarations=tuple(declarations), broken=tuple(broken), diagnostics=tuple(diagnostics)
    )


def _read(source: SourceFile, start: int, end: int) -> _Piece:
    """Parse a stretch of text; where that fails, keep what stands before the mistake's line."""
    found = scan(source, start, end)
    if found.too_deep is not None:
        return _lost(source, start, end, _nested_too_deeply(found.too_deep))
    try:
        return _parse(source, start, end)
    except UnexpectedInput as error:
        mistake = explain(error, source, found, end)
        place = cast(Span, mistake.primary.where).start
    line_start = source.text.rfind("\n", start, place) + 1
    if line_start > start:
        try:
            before = _parse(source, start, line_start)
        except UnexpectedInput:
            return _lost(source, start, end, mistake)
        after = _lost(source, line_start, end, mistake)
        return _Piece(
            declarations=before.declarations,
            broken=before.broken + after.broken,
            diagnostics=before.diagnostics + after.diagnostics,
        )
    return _lost(source, start, end, mistake)


def _lost(source: SourceFile, start: int, end: int, mistake: Diagnostic) -> _Piece:
    return _Piece(broken=(_broken(Span(source, start, end)),), diagnostics=(mistake,))


def _too_many_mistakes(source: SourceFile, start: int) -> Diagnostic:
    return codes.TOO_MANY_MISTAKES.at(
        Span(source, start, start), "too many mistakes: from here on nothing is read"
    )


def _nested_too_deeply(opener: Span) -> Diagnostic:
    return codes.TOO_DEEP.at(opener, f"brackets are nested more than {MAX_DEPTH} deep")


_HEADER = re.compile(rf"\s*({'|'.join(KEYWORDS)})\b[ \t]*(\w+)?")


def _broken(span: Span) -> ast.Broken:
    header = _HEADER.match(span.file.text, span.start, span.end)
    if header is None:
        return ast.Broken(keyword=None, name=None, span=span)
    return ast.Broken(keyword=header[1], name=header[2], span=span)
