"""Quick fixes: certain edits of diagnostics, and proposals of their help that work."""

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
    """Fixes for the mistakes in a range, and one action that fixes everything."""
    kinds = types.CodeActionKind
    code_actions: list[types.CodeAction] = []
    if _wanted(kinds.QuickFix, only):
        for diagnostic in analysis.checked.diagnostics:
            if _touches(analysis.positions.of(place(diagnostic, analysis)), where):
                code_actions += _fixes(diagnostic, analysis)
    if _wanted(kinds.SourceFixAll, only):
        code_actions += _fix_all_action(analysis)
    return code_actions


def _wanted(kind: str, only: Sequence[str] | None) -> bool:
    return only is None or any(kind == prefix or kind.startswith(f"{prefix}.") for prefix in only)


def _touches(first: types.Range, second: types.Range) -> bool:
    return first.start <= second.end and second.start <= first.end


def _fixes(diagnostic: Diagnostic, analysis: Analysis) -> Iterator[types.CodeAction]:
    certain = diagnostic.edits and fix_once(analysis.checked, [diagnostic], analysis.check)
    if certain:
        yield _action(
            _title(diagnostic.edits), diagnostic, diagnostic.edits, analysis, preferred=True
        )
        return
    for title, edits in _proposals(diagnostic, analysis):
        if _helps(diagnostic, edits, analysis):
            yield _action(title, diagnostic, edits, analysis)


def _fix_all_action(analysis: Analysis) -> Iterator[types.CodeAction]:
    repair = fix_all(analysis.checked, analysis.check)
    if repair.count and repair.after.source is not None:
        edits = between(analysis.positions, repair.after.source.text)
        yield types.CodeAction(
            title=f"Fix all certain mistakes ({repair.count})",
            kind=types.CodeActionKind.SourceFixAll,
            edit=types.WorkspaceEdit(changes={analysis.uri: edits}),
        )


def _action(
    title: str,
    diagnostic: Diagnostic,
    edits: Sequence[Edit],
    analysis: Analysis,
    *,
    preferred: bool = False,
) -> types.CodeAction:
    changes = [types.TextEdit(analysis.positions.of(edit.span), edit.replacement) for edit in edits]
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[report(diagnostic, analysis)],
        edit=types.WorkspaceEdit(changes={analysis.uri: changes}),
        is_preferred=preferred or None,
    )


def _title(edits: Sequence[Edit]) -> str:
    first = edits[0]
    old, new = first.span.text.strip(), first.replacement.strip()
    if not old:
        return f"Add `{new}`"
    return f"Change `{old}` to `{new}`" if new else f"Remove `{old}`"


def _proposals(
    diagnostic: Diagnostic, analysis: Analysis
) -> Iterator[tuple[str, tuple[Edit, ...]]]:
    """The edits that the help of a diagnostic proposes: each alone, then pairs."""
    seen: set[tuple[Edit, ...]] = set()
    for line in diagnostic.help:
        changes = [_change(code, diagnostic, analysis) for code in _CODE.findall(line)]
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


def _change(code: str, diagnostic: Diagnostic, analysis: Analysis) -> Edit | None:
    """The edit for code in a help line: an axis with size, a field with value, or a word."""
    spans = [label.where for label in (diagnostic.primary, *diagnostic.secondary)]
    spans_here = [span for span in spans if isinstance(span, Span) and span.file is analysis.source]
    if match := _AXIS.fullmatch(code):
        return _axis(match[1], code, spans_here, analysis)
    if match := _FIELD.fullmatch(code):
        return _field(match[1], match[2], spans_here, analysis)
    if spans_here and diagnostic.primary.where is spans_here[0] and _WORD.fullmatch(code):
        return Edit(spans_here[0], code) if _WORD.fullmatch(spans_here[0].text) else None
    return None


def _axis(name: str, code: str, spans: list[Span], analysis: Analysis) -> Edit | None:
    """Write an axis in the view that contains a span, else in its grid."""
    for span in spans:
        for grid in _around(analysis.main.file.declarations_of(ast.Grid), span):
            views = [field for field in grid.fields if isinstance(field, ast.View)]
            for view in (*_around(views, span), *views):
                for axis in view.axes:
                    if axis.name.text == name and axis.size is not None:
                        return Edit(axis.span, code)
    return None


def _field(name: str, value: str, spans: list[Span], analysis: Analysis) -> Edit | None:
    """Write a field in the declaration that contains a span."""
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
    return (node for node in nodes if node.span.start <= span.start and span.end <= node.span.end)


def _helps(diagnostic: Diagnostic, edits: Sequence[Edit], analysis: Analysis) -> bool:
    """Whether edits remove the diagnostic and cause no other."""
    text = analysis.source.text
    for edit in sorted(edits, key=lambda edit: edit.span.start, reverse=True):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    before = [mistake.code for mistake in analysis.checked.diagnostics]
    after = [mistake.code for mistake in analysis.trying(text).checked.diagnostics]
    fewer = after.count(diagnostic.code) < before.count(diagnostic.code)
    return fewer and all(after.count(code) <= before.count(code) for code in set(after))
