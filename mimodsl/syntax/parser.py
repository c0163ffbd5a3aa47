"""Parses text to a syntax tree. A mistake loses only the declaration that it is in."""

import re
from itertools import chain, pairwise
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
from mimodsl.syntax.scan import KEYWORDS, Scan, declaration_lines, scan
from mimodsl.syntax.syntax_errors import explain


@frozen(kw_only=True, eq=False)
class Parsed:
    """The part of a file that could be read, and a diagnostic for each part that could not."""

    file: ast.File
    diagnostics: tuple[Diagnostic, ...]


@frozen(kw_only=True, eq=False)
class _ParsedPart:
    """The result of parsing part of a text."""

    declarations: tuple[ast.Declaration, ...] = ()
    broken: tuple[ast.Broken, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def parse_source(source: SourceFile) -> Parsed:
    """Parse a file; each broken declaration gives one diagnostic."""
    if len(source.text) > MAX_CHARACTERS:
        return _too_large(source)
    file_scan = scan(source, 0, len(source.text))
    parts = _parse_in_parts(source, file_scan)
    file = ast.File(
        source=source,
        declarations=tuple(chain.from_iterable(part.declarations for part in parts)),
        broken=tuple(chain.from_iterable(part.broken for part in parts)),
        comments=file_scan.comments,
    )
    diagnostics = tuple(chain.from_iterable(part.diagnostics for part in parts))
    return Parsed(file=file, diagnostics=diagnostics)


def parse_value(source: SourceFile, start: int) -> ast.Value | Diagnostic:
    """Parse text that contains exactly one value from `start` on."""
    end = len(source.text)
    value_scan = scan(source, start, end)
    if value_scan.too_deep is not None:
        return _nested_too_deeply(value_scan.too_deep)
    try:
        return Builder(source).value(tree(source, start, end, VALUE))
    except UnexpectedInput as error:
        return explain(error, source, value_scan, end)
    except Unreadable as error:
        return error.diagnostic


def _too_large(source: SourceFile) -> Parsed:
    size = f"{len(source.text):,} characters, the limit is {MAX_CHARACTERS:,}"
    mistake = codes.UNREADABLE.at(Span(source, 0, 0), f"the file is too large: {size}")
    broken = ast.Broken(keyword=None, name=None, span=Span(source, 0, len(source.text)))
    file = ast.File(source=source, declarations=(), broken=(broken,))
    return Parsed(file=file, diagnostics=(mistake,))


def _parse_in_parts(source: SourceFile, file_scan: Scan) -> list[_ParsedPart]:
    """Parse the file as one text; after a syntax error, declaration by declaration."""
    end = len(source.text)
    if file_scan.too_deep is None:
        try:
            return [_parse(source, 0, end)]
        except UnexpectedInput:
            pass
    bounds = sorted({0, *declaration_lines(source), end})
    parts: list[_ParsedPart] = []
    mistakes = 0
    for start, stop in pairwise(bounds):
        if mistakes >= MAX_MISTAKES:
            return [*parts, _unparsed(source, start, end, _too_many_mistakes(source, start))]
        parts.append(_parse_with_recovery(source, start, stop))
        mistakes += len(parts[-1].diagnostics)
    return parts


def _parse(source: SourceFile, start: int, end: int) -> _ParsedPart:
    """Parse part of a text. Raises lark's `UnexpectedInput` for a syntax error."""
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
    return _ParsedPart(
        declarations=tuple(declarations), broken=tuple(broken), diagnostics=tuple(diagnostics)
    )


def _parse_with_recovery(source: SourceFile, start: int, end: int) -> _ParsedPart:
    """Parse part of a text; after a syntax error, keep what comes before the error's line."""
    part_scan = scan(source, start, end)
    if part_scan.too_deep is not None:
        return _unparsed(source, start, end, _nested_too_deeply(part_scan.too_deep))
    try:
        return _parse(source, start, end)
    except UnexpectedInput as error:
        mistake = explain(error, source, part_scan, end)
        error_start = cast(Span, mistake.primary.where).start
    line_start = source.text.rfind("\n", start, error_start) + 1
    if line_start > start:
        try:
            before = _parse(source, start, line_start)
        except UnexpectedInput:
            return _unparsed(source, start, end, mistake)
        after = _unparsed(source, line_start, end, mistake)
        return _ParsedPart(
            declarations=before.declarations,
            broken=before.broken + after.broken,
            diagnostics=before.diagnostics + after.diagnostics,
        )
    return _unparsed(source, start, end, mistake)


def _unparsed(source: SourceFile, start: int, end: int, mistake: Diagnostic) -> _ParsedPart:
    return _ParsedPart(broken=(_broken(Span(source, start, end)),), diagnostics=(mistake,))


def _too_many_mistakes(source: SourceFile, start: int) -> Diagnostic:
    return codes.TOO_MANY_MISTAKES.at(
        Span(source, start, start), "too many mistakes: the rest of the file is not read"
    )


def _nested_too_deeply(opener: Span) -> Diagnostic:
    return codes.TOO_DEEP.at(opener, f"brackets are nested more than {MAX_DEPTH} deep")


_HEADER = re.compile(rf"\s*({'|'.join(KEYWORDS)})\b[ \t]*(\w+)?")


def _broken(span: Span) -> ast.Broken:
    header = _HEADER.match(span.file.text, span.start, span.end)
    if header is None:
        return ast.Broken(keyword=None, name=None, span=span)
    return ast.Broken(keyword=header[1], name=header[2], span=span)
