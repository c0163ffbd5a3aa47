"""What hands used to YAML, JSON, Python or HCL write, and what is written here."""

import re
from collections.abc import Set as AbstractSet
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Edit
from mimodsl.diagnostics.suggest import did_you_mean
from mimodsl.source import Span

OPERATORS: Final = frozenset(("PLUS", "MINUS", "STAR", "FLOOR", "PERCENT"))
_CONTINUING: Final = OPERATORS | {"VBAR", "AMPERSAND", "ARROW"}
# From where words begin and without a way back, so that a long word is not tried from each letter.
_SEVERAL_AXES: Final = re.compile(r"\b\w++\s*+:\s*+\w++\s*+,\s*+\w++\s*+$")
_KEY: Final = re.compile(r"\b(\w++)\s*+=\s*+$")
_TYPED: Final = re.compile(r"\s*\w+\s*=")

_FIELD: Final = "a field is written `key = value`"
_CONSTANT: Final = "a constant is written `let name = value`"
_OPENS: Final = "a block opens on the line of its declaration: `{`"
_DOCUMENT: Final = "a JSON document is in a file whose name ends in `.json`"
_AXES: Final = "an axis is written `name:size`, and axes are joined by `*`: `tp:2 * dp:4`"
_CONTINUED: Final = "a line goes on in the next one where it ends with the operator"


@frozen(kw_only=True)
class Found:
    """What stood where the parser could not go on, and the terminals that it would have taken."""

    kind: str
    span: Span
    accepted: AbstractSet[str]

    @property
    def in_view(self) -> bool:
        """Whether what comes before is an axis, which only another one may follow."""
        return "STAR" in self.accepted and "PLUS" not in self.accepted

    @property
    def before(self) -> str:
        """The text of the line before it."""
        text = self.span.file.text
        return text[text.rfind("\n", 0, self.span.start) + 1 : self.span.start]

    @property
    def begins_line(self) -> bool:
        return not self.before.strip()

    def wants(self, *kinds: str) -> bool:
        """Whether these, and perhaps a line break, are all that might stand here."""
        return self.accepted - {"_NL"} == set(kinds)


def advice(found: Found) -> tuple[str, ...]:
    """What to do about it: a line or two, or none."""
    return _of_names(found) or _of_blocks(found) or _of_separators(found) or _of_values(found)


def _of_names(found: Found) -> tuple[str, ...]:
    kind, accepted = found.kind, found.accepted
    if kind == "STRING" and "NAME" in accepted and "STRING" not in accepted:
        return ("a name stands without quotes",)
    if found.wants("COLON") and kind in ("NAME", "LBRACE", "EQUAL"):
        return ("a module is written `module name : kind { … }`",)
    if found.wants("ARROW"):
        return ("a flow is written `flow encoder -> projector -> language { … }`",)
    if kind == "INTEGER" and accepted == {"NAME"} and (key := _KEY.search(found.before)):
        return did_you_mean(key[1], ("ranks",))
    return ()


def _of_blocks(found: Found) -> tuple[str, ...]:
    kind, accepted = found.kind, found.accepted
    if kind == "LBRACE" and "MODULE" in accepted:
        return (_OPENS if found.span.start else _DOCUMENT,)
    if kind == "_NL" and "LBRACE" in accepted and "_NL" not in accepted:
        return (_OPENS,)
    if kind in ("LPAR", "COLON") and ("LBRACE" in accepted or accepted == {"NAME"}):
        return ("a block is written `name { key = value, … }`",)
    return ()


def _of_separators(found: Found) -> tuple[str, ...]:
    kind, accepted = found.kind, found.accepted
    if kind == "COLON" and "EQUAL" in accepted:
        if found.before.startswith("let "):
            return (_CONSTANT,)
        return (_AXES if _SEVERAL_AXES.search(found.before) else _FIELD,)
    if kind in _CONTINUING and found.begins_line:
        return (*(("a comment begins with `#`",) if kind == "FLOOR" else ()), _CONTINUED)
    if kind == "COMMA" and "VBAR" in accepted:
        return ("`a | b` are side by side, `a & b` on the same ranks",)
    return ()


def _of_values(found: Found) -> tuple[str, ...]:
    kind, accepted = found.kind, found.accepted
    if kind == "INTEGER" and re.search(r"[0-9],$", found.before):
        return ("a large number is written `32000` or `32_000`",)
    if kind == "INTEGER" and re.search(r":\w+\*$", found.before):
        return ("a size that is computed stands in parentheses: `dp:(2 * 2)`",)
    if found.in_view or (kind == "INTEGER" and accepted == {"NAME"}):
        return (_AXES,)
    if found.wants("EQUAL"):
        return (_FIELD if found.before.startswith((" ", "\t")) else "a value follows `=`",)
    if kind == "NAME" and {"COMMA", "_NL"} <= accepted:
        return ("fields stand on lines of their own or are separated by commas",)
    return ()


def edits(found: Found) -> tuple[Edit, ...]:
    """The edit that can only have been meant: of `key: value` in a block, `key = value`."""
    if found.kind != "COLON" or "EQUAL" not in found.accepted:
        return ()
    if _SEVERAL_AXES.search(found.before) or _TYPED.match(found.span.file.text, found.span.end):
        return ()
    return (Edit(found.span, "=" if found.before.endswith(" ") else " ="),)
