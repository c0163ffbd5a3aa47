"""Quick fixes: the edits that diagnostics are sure of, and their help, where trying it helps."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from lsprotocol import types

from mimodsl.checker.file_fixes import fix_all, fix_once
from mimodsl.diagnostics import Diagnostic, Edit
from mimodsl.lsp.edits import between
from mimodsl.lsp.reports import place, report
from mimodsl.lsp.specs import Analysis
from mimodsl.source import Span
from mimodsl.syntax import ast

_CODE: Final = re.compile(r"`([^`]+)`")
_AXIS: Final = re.compile(r"(\w+):(\d+)")
_FIELD: Final = re.compile(r"(\w+) = (.+)")
_WORD: Final = re.compile(r"\w+")


def actions(
    analysis: Analysis, where: types.Range, only: Sequence[str] | None
) -> list[types.CodeAction]:
    """What can be done about the mistakes in a range, and about all at once."""
    kinds = types.CodeActionKind
    found: list[types.CodeAction] = []
    if _wanted(kinds.QuickFix, only):
        for one in analysis.checked.diagnostics:
            if _touches(analysis.positions.of(place(one, analysis)), where):
                found += _fixes(one, analysis)
    if _wanted(kinds.SourceFixAll, only):
        found += _all(analysis)
    return found


def _wanted(kind: str, only: Sequence[str] | None) -> bool:
    return only is None or any(kind == one or kind.startswith(f"{one}.") for one in only)


def _touches(one: types.Range, other: types.Range) -> bool:
    return one.start <= other.end and other.start <= one.end


def _fixes(one: Diagnostic, analysis: Analysis) -> Iterator[types.CodeAction]:
    certain = one.edits and fix_once(analysis.checked, [one], analysis.check)
    if certain:
        yield _action(_title(one.edits), one, one.edits, analysis, preferred=True)
        return
    for title, edits in _advised(one, analysis):
        if _helps(one, edits, analysis):
            yield _action(title, one, edits, analysis)


def _all(analysis: Analysis) -> Iterator[types.CodeAction]:
    repair = fix_all(analysis.checked, analysis.check)
    if repair.count and repair.after.source is not None:
        edits = between(analysis.positions, repair.after.source.text)
        yield types.CodeAction(
            title=f"Fix all that can be fixed ({repair.count})",
            kind=types.CodeActionKind.SourceFixAll,
            edit=types.WorkspaceEdit(changes={analysis.uri: edits}),
        )


def _action(
    title: str,
    one: Diagnostic,
    edits: Sequence[Edit],
    analysis: Analysis,
    *,
    preferred: bool = False,
) -> types.CodeAction:
    changes = [types.TextEdit(analysis.positions.of(edit.span), edit.replacement) for edit in edits]
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[report(one, analysis)],
        edit=types.WorkspaceEdit(changes={analysis.uri: changes}),
        is_preferred=preferred or None,
    )


def _title(edits: Sequence[Edit]) -> str:
    first = edits[0]
    old, new = first.span.text.strip(), first.replacement.strip()
    if not old:
        return f"Add `{new}`"
    return f"Change `{old}` to `{new}`" if new else f"Remove `{old}`"


def _advised(one: Diagnostic, analysis: Analysis) -> Iterator[tuple[str, tuple[Edit, ...]]]:
    """What the help of a diagnostic proposes, as edits: each change alone, then two together."""
    seen: set[tuple[Edit, ...]] = set()
    for line in one.help:
        changes = [_change(code, one, analysis) for code in _CODE.findall(line)]
        known = [
            (code, edit) for code, edit in zip(_CODE.findall(line), changes, strict=True) if edit
        ]
        alone = [(f"Write `{code}`", (edit,)) for code, edit in known]
        together = [
            (f"Write `{first}` and `{second}`", (edit, other))
            for (first, edit), (second, other) in pairwise(known)
            if edit.span != other.span
        ]
        for title, edits in (*alone, *together):
            if edits not in seen:
                seen.add(edits)
                yield title, edits


def _change(code: str, one: Diagnostic, analysis: Analysis) -> Edit | None:
    """The edit that writes an axis with its size, a field with its value, or a word for a word."""
    spans = [label.where for label in (one.primary, *one.secondary)]
    own = [span for span in spans if isinstance(span, Span) and span.file is analysis.source]
    if match := _AXIS.fullmatch(code):
        return _axis(match[1], code, own, analysis)
    if match := _FIELD.fullmatch(code):
        return _field(match[1], match[2], own, analysis)
    if own and one.primary.where is own[0] and _WORD.fullmatch(code):
        return Edit(own[0], code) if _WORD.fullmatch(own[0].text) else None
    return None


def _axis(name: str, code: str, spans: list[Span], analysis: Analysis) -> Edit | None:
    """Write an axis anew, in the view that a span lies in, else in its grid."""
    for span in spans:
        for grid in _around(analysis.main.file.declarations_of(ast.Grid), span):
            views = [field for field in grid.fields if isinstance(field, ast.View)]
            for view in (*_around(views, span), *views):
                for axis in view.axes:
                    if axis.name.text == name and axis.size is not None:
                        return Edit(axis.span, code)
    return None


def _field(name: str, value: str, spans: list[Span], analysis: Analysis) -> Edit | None:
    """Write a field anew, in the declaration that a span lies in."""
    for span in spans:
        for declaration in _around(analysis.main.file.declarations, span):
            block = getattr(declaration, "block", None)
            for field in _fields(block) if isinstance(block, ast.Block) else ():
                if field.key.text == name:
                    return Edit(field.value.span, value)
    return None


def _fields(block: ast.Block) -> Iterator[ast.Field]:
    for field in block.fields:
        yield field
        if isinstance(field.value, ast.Block):
            yield from _fields(field.value)


def _around[S: ast.Syntax](nodes: Sequence[S], span: Span) -> Iterator[S]:
    return (one for one in nodes if one.span.start <= span.start and span.end <= one.span.end)


def _helps(one: Diagnostic, edits: Sequence[Edit], analysis: Analysis) -> bool:
    """Whether edits end a diagnostic and bring no other."""
    text = analysis.source.text
    for edit in sorted(edits, key=lambda edit: edit.span.start, reverse=True):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    before = [found.code for found in analysis.checked.diagnostics]
    after = [found.code for found in analysis.trying(text).checked.diagnostics]
    fewer = after.count(one.code) < before.count(one.code)
    return fewer and all(after.count(code) <= before.count(code) for code in set(after))
