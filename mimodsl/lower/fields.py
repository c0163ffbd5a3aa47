"""One field: its written value against its schema."""

import re
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Edit, codes
from mimodsl.diagnostics.suggest import corrected, did_you_mean, listed
from mimodsl.ir.flow import Flow
from mimodsl.ir.kinds import Kind
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.schedule import Schedule
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.ir.types import Size, describe
from mimodsl.lower.constants import Context, plain
from mimodsl.lower.evaluate import FAILED, LITERAL_WORDS, Constant, Failed, described
from mimodsl.syntax import ast

REFERENCES: Final = frozenset({"grid"})


@frozen(kw_only=True)
class FieldReader:
    """Reads the values of fields that take no block."""

    context: Context

    def read(self, value: ast.Value, schema: FieldSchema) -> object | Failed:
        """The value, or `FAILED` after a report."""
        if schema.name in REFERENCES:
            return self._reference(value, schema)
        if isinstance(value, ast.Block):
            return self._wrong_type(value, schema, "a block")
        chosen = self._choice(value, schema) if isinstance(value, ast.Word) else FAILED
        if not isinstance(chosen, Failed):
            return chosen
        if isinstance(value, ast.Word) and not self.context.knows(value):
            if schema.type.enums:
                return self._no_choice(value, value.text, schema)
            if str in schema.type.bases:
                return self._unquoted(value, schema)
        if isinstance(value, ast.List) and schema.type.many:
            found = self._list(value, schema)
        else:
            found = self.context.evaluator.evaluate(value)
        return FAILED if isinstance(found, Failed) else self._judged(value, found, schema)

    def _list(self, value: ast.List, schema: FieldSchema) -> Constant | Failed:
        items: list[Constant] = []
        for item in value.items:
            chosen = self._choice(item, schema) if isinstance(item, ast.Word) else FAILED
            unknown = isinstance(chosen, Failed)
            found = self.context.evaluator.evaluate(item) if unknown else chosen
            if isinstance(found, Failed):
                return FAILED
            items.append(found)
        return tuple(items)

    def _reference(self, value: ast.Value, schema: FieldSchema) -> str | Failed:
        if isinstance(value, ast.Word) and value.text not in LITERAL_WORDS:
            return value.text
        bare = value.value if isinstance(value, ast.String) and value.value.isidentifier() else ""
        self.context.report(
            codes.WRONG_TYPE.at(
                value.span,
                f"`{schema.name}` takes the name of a {schema.name}",
                help=(f"write it without quotes: `{bare}`",) if bare else (),
                edits=(Edit(value.span, bare),) if bare else (),
            )
        )
        return FAILED

    def _choice(self, word: ast.Word, schema: FieldSchema) -> str | Failed:
        for enum in schema.type.enums:
            if word.text in enum:
                return enum(word.text)
        return FAILED

    def _unquoted(self, word: ast.Word, schema: FieldSchema) -> Failed:
        self.context.scope.missing(
            ast.Let,
            ast.Name(text=word.text, span=word.span),
            advice=(f'a string stands in quotes: `{schema.name} = "{word.text}"`',),
            edits=(Edit(word.span, f'"{word.text}"'),),
        )
        return FAILED

    def _no_choice(self, value: ast.Value, word: str, schema: FieldSchema) -> object | Failed:
        """What was meant, after a report, where that is certain."""
        choices = [str(member) for enum in schema.type.enums for member in enum]
        edits = corrected(value.span, choices) if isinstance(value, ast.Word) else ()
        self.context.report(
            codes.UNKNOWN_CHOICE.at(
                value.span,
                f"`{word}` is no choice of `{schema.name}`",
                notes=(f"`{schema.name}` is {listed(choices)}",),
                help=did_you_mean(word, choices),
                edits=edits,
            )
        )
        return _converted(edits[0].replacement, schema) if edits else FAILED

    def _judged(self, value: ast.Value, found: Constant, schema: FieldSchema) -> object | Failed:
        if found is None and schema.type.optional:
            return None
        converted = _converted(found, schema)
        if not schema.type.accepts(converted):
            if isinstance(found, str) and schema.type.enums:
                return self._no_choice(value, found, schema)
            return self._wrong_type(value, schema, described(found))
        if schema.constraint is not None and not schema.constraint.accepts(converted):
            self.context.report(
                codes.OUT_OF_BOUNDS.at(
                    value.span,
                    f"`{schema.name}` must be {schema.constraint.words}, found {plain(found)}",
                    secondary=self.context.definition(value, found),
                )
            )
            return FAILED
        return converted

    def _wrong_type(self, value: ast.Value, schema: FieldSchema, found: str) -> Failed:
        bare = _without_quotes(value, schema)
        size = _as_size(value, schema)
        advice = f"write it without quotes: `{bare}`" if bare else size and f"write `{size}`"
        self.context.report(
            codes.WRONG_TYPE.at(
                value.span,
                f"`{schema.name}` takes {describe(schema.type)}, found {found}",
                secondary=self.context.definition(value),
                help=(advice,) if advice else (),
                edits=(Edit(value.span, bare),) if bare else (),
            )
        )
        return FAILED


_LITERALS: Final[dict[type, str]] = {
    int: r"-?[0-9](_?[0-9])*",
    float: r"-?[0-9](_?[0-9])*(\.[0-9]+)?([eE][+-]?[0-9]+)?",
    Size: r"[0-9]+x[0-9]+",
    bool: "true|false",
}


def _without_quotes(value: ast.Value, schema: FieldSchema) -> str | None:
    """What a string would be as a value of the field's type, where it could be one."""
    forms = [_LITERALS[base] for base in schema.type.bases if base in _LITERALS]
    forms += ["none"] if schema.type.optional else []
    if isinstance(value, ast.String) and re.fullmatch("|".join(forms), value.value):
        return value.value or None
    return None


def _as_size(value: ast.Value, schema: FieldSchema) -> str | None:
    """What `64` or `[64, 64]` would be as a size."""
    sides = value.items if isinstance(value, ast.List) else (value, value)
    if Size not in schema.type.bases or len(sides) != 2:
        return None
    height, width = sides
    if isinstance(height, ast.Integer) and isinstance(width, ast.Integer):
        return f"{height.value}x{width.value}"
    return None


def _converted(value: Constant, schema: FieldSchema) -> object:
    """A string that names a choice becomes it, and an integer a float where only floats fit."""
    bases = schema.type.bases
    if isinstance(value, str):
        return next((enum(value) for enum in schema.type.enums if value in enum), value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if float in bases and int not in bases else value
    if isinstance(value, tuple):
        return tuple(_converted(item, schema) for item in value)
    return value


OWN: Final = ("grid", "frozen")
"""The fields of a module beside those of its kind; a preset may give them, too."""

_HEADERS: Final[tuple[tuple[type[Node], str], ...]] = ((Flow, "path"), (Schedule, "kind"))


def block_fields(cls: type[Node]) -> tuple[FieldSchema, ...]:
    """The fields that may stand in the block of a declaration, not before it.

    `cls` is what the declaration makes, of a preset or module its kind.
    """
    if issubclass(cls, Kind):
        return (*schema(cls), *(field for field in schema(Module) if field.name in OWN))
    return tuple(field for field in schema(cls) if (cls, field.name) not in _HEADERS)
