"""Advice for syntax that comes from YAML, JSON, Python or HCL, and how `.mimo` writes it."""

import re
from collections.abc import Set as AbstractSet
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Edit
from mimodsl.diagnostics.suggest import did_you_mean
from mimodsl.source import Span

OPERATORS: Final = frozenset(("PLUS", "MINUS", "STAR", "FLOOR", "PERCENT"))
_CONTINUING: Final = OPERATORS | {"VBAR", "AMPERSAND", "ARROW"}
# The patterns start at a word boundary and never backtrack, so long words take linear time.
_SEVERAL_AXES: Final = re.compile(r"\b\w++\s*+:\s*+\w++\s*+,\s*+\w++\s*+$")
_KEY: Final = re.compile(r"\b(\w++)\s*+=\s*+$")
_TYPED: Final = re.compile(r"\s*\w+\s*=")

_FIELD: Final = "a field is written `key = value`"
_CONSTANT: Final = "a constant is written `let name = value`"
_OPENS: Final = "a block opens on the line of its declaration: `{`"
_DOCUMENT: Final = "a JSON document needs a file name that ends in `.json`"
_AXES: Final = "an axis is written `name:size`, and axes are joined by `*`: `tp:2 * dp:4`"
_CONTINUED: Final = "to continue a line, end it with the operator"


@frozen(kw_only=True, eq=False)
class UnexpectedText:
    """The text where the parser stopped, and the terminals that it accepts there."""

    kind: str
    span: Span
    accepted: AbstractSet[str]

    @property
    def in_view(self) -> bool:
        """Whether an axis comes before, so that only `*` and another axis may follow."""
        return "STAR" in self.accepted and "PLUS" not in self.accepted

    @property
    def before(self) -> str:
        """The text before it on its line."""
        text = self.span.file.text
        return text[text.rfind("\n", 0, self.span.start) + 1 : self.span.start]

    @property
    def begins_line(self) -> bool:
        return not self.before.strip()

    def wants(self, *kinds: str) -> bool:
        """Whether the parser accepts only these terminals, and perhaps a line break."""
        return self.accepted - {"_NL"} == set(kinds)


def advice(unexpected: UnexpectedText) -> tuple[str, ...]:
    """Help lines for an unexpected text; empty where nothing helps."""
    return (
        _for_names(unexpected)
        or _for_blocks(unexpected)
        or _for_separators(unexpected)
        or _for_values(unexpected)
    )


def _for_names(unexpected: UnexpectedText) -> tuple[str, ...]:
    kind, accepted = unexpected.kind, unexpected.accepted
    if kind == "STRING" and "NAME" in accepted and "STRING" not in accepted:
        return ("write the name without quotes",)
    if unexpected.wants("COLON") and kind in ("NAME", "LBRACE", "EQUAL"):
        return ("a module is written `module name : kind { … }`",)
    if unexpected.wants("ARROW"):
        return ("a flow is written `flow encoder -> projector -> language { … }`",)
    if kind == "INTEGER" and accepted == {"NAME"} and (key := _KEY.search(unexpected.before)):
        return did_you_mean(key[1], ("ranks",))
    return ()


def _for_blocks(unexpected: UnexpectedText) -> tuple[str, ...]:
    kind, accepted = unexpected.kind, unexpected.accepted
    if kind == "LBRACE" and "MODULE" in accepted:
        return (_OPENS if unexpected.span.start else _DOCUMENT,)
    if kind == "_NL" and "LBRACE" in accepted and "_NL" not in accepted:
        return (_OPENS,)
    if kind in ("LPAR", "COLON") and ("LBRACE" in accepted or accepted == {"NAME"}):
        return ("a block is written `name { key = value, … }`",)
    return ()


def _for_separators(unexpected: UnexpectedText) -> tuple[str, ...]:
    kind, accepted = unexpected.kind, unexpected.accepted
    if kind == "COLON" and "EQUAL" in accepted:
        if unexpected.before.startswith("let "):
            return (_CONSTANT,)
        return (_AXES if _SEVERAL_AXES.search(unexpected.before) else _FIELD,)
    if kind in _CONTINUING and unexpected.begins_line:
        return (*(("a comment begins with `#`",) if kind == "FLOOR" else ()), _CONTINUED)
    if kind == "COMMA" and "VBAR" in accepted:
        return ("`a | b` places grids side by side, `a & b` on the same ranks",)
    return ()


def _for_values(unexpected: UnexpectedText) -> tuple[str, ...]:
    kind, accepted = unexpected.kind, unexpected.accepted
    if kind == "INTEGER" and re.search(r"[0-9],$", unexpected.before):
        return ("a large number is written `32000` or `32_000`",)
    if kind == "INTEGER" and re.search(r":\w+\*$", unexpected.before):
        return ("put a computed size in parentheses: `dp:(2 * 2)`",)
    if unexpected.in_view or (kind == "INTEGER" and accepted == {"NAME"}):
        return (_AXES,)
    if unexpected.wants("EQUAL"):
        return (_FIELD if unexpected.before.startswith((" ", "\t")) else "a value follows `=`",)
    if kind == "NAME" and {"COMMA", "_NL"} <= accepted:
        return ("write each field on its own line, or separate fields with commas",)
    return ()


def certain_edits(unexpected: UnexpectedText) -> tuple[Edit, ...]:
    """The edit that is certain: `key: value` in a block becomes `key = value`."""
    if unexpected.kind != "COLON" or "EQUAL" not in unexpected.accepted:
        return ()
    if _SEVERAL_AXES.search(unexpected.before) or _TYPED.match(
        unexpected.span.file.text, unexpected.span.end
    ):
        return ()
    return (Edit(unexpected.span, "=" if unexpected.before.endswith(" ") else " ="),)
