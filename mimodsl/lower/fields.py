"""Reads one field: checks its written value against its schema."""

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
from mimodsl.lower.constants import Environment, constant_text
from mimodsl.lower.evaluate import FAILED, LITERAL_WORDS, Constant, Failed, value_words
from mimodsl.syntax import ast

REFERENCES: Final = frozenset({"grid"})


@frozen(kw_only=True, eq=False)
class FieldReader:
    """Reads the values of fields whose value is not a block."""

    environment: Environment

    def read(self, value: ast.Value, schema: FieldSchema) -> object | Failed:
        """The value, or `FAILED` after a report."""
        if schema.name in REFERENCES:
            return self._reference(value, schema)
        if isinstance(value, ast.Block):
            return self._wrong_type(value, schema, "a block")
        choice = self._choice(value, schema) if isinstance(value, ast.Word) else FAILED
        if not isinstance(choice, Failed):
            return choice
        if isinstance(value, ast.Word) and not self.environment.knows(value):
            if schema.type.enums:
                return self._unknown_choice(value, value.text, schema)
            if str in schema.type.bases:
                return self._unquoted(value, schema)
        if isinstance(value, ast.List) and schema.type.many:
            evaluated = self._list(value, schema)
        else:
            evaluated = self.environment.evaluator.evaluate(value)
        return FAILED if isinstance(evaluated, Failed) else self._checked(value, evaluated, schema)

    def _list(self, value: ast.List, schema: FieldSchema) -> Constant | Failed:
        items: list[Constant] = []
        for item in value.items:
            choice = self._choice(item, schema) if isinstance(item, ast.Word) else FAILED
            unknown = isinstance(choice, Failed)
            evaluated = self.environment.evaluator.evaluate(item) if unknown else choice
            if isinstance(evaluated, Failed):
                return FAILED
            items.append(evaluated)
        return tuple(items)

    def _reference(self, value: ast.Value, schema: FieldSchema) -> str | Failed:
        if isinstance(value, ast.Word) and value.text not in LITERAL_WORDS:
            return value.text
        unquoted = (
            value.value if isinstance(value, ast.String) and value.value.isidentifier() else ""
        )
        self.environment.report(
            codes.WRONG_TYPE.at(
                value.span,
                f"`{schema.name}` takes the name of a {schema.name}",
                help=(f"write it without quotes: `{unquoted}`",) if unquoted else (),
                edits=(Edit(value.span, unquoted),) if unquoted else (),
            )
        )
        return FAILED

    def _choice(self, word: ast.Word, schema: FieldSchema) -> str | Failed:
        for enum in schema.type.enums:
            if word.text in enum:
                return enum(word.text)
        return FAILED

    def _unquoted(self, word: ast.Word, schema: FieldSchema) -> Failed:
        self.environment.scope.missing(
            ast.Let,
            ast.Name(text=word.text, span=word.span),
            advice=(f'write a string in quotes: `{schema.name} = "{word.text}"`',),
            edits=(Edit(word.span, f'"{word.text}"'),),
        )
        return FAILED

    def _unknown_choice(self, value: ast.Value, word: str, schema: FieldSchema) -> object | Failed:
        """Report an unknown choice; returns the choice that is certainly meant, or `FAILED`."""
        choices = [str(member) for enum in schema.type.enums for member in enum]
        edits = corrected(value.span, choices) if isinstance(value, ast.Word) else ()
        self.environment.report(
            codes.UNKNOWN_CHOICE.at(
                value.span,
                f"`{word}` is not a choice of `{schema.name}`",
                notes=(f"`{schema.name}` is {listed(choices)}",),
                help=did_you_mean(word, choices),
                edits=edits,
            )
        )
        return _converted(edits[0].replacement, schema) if edits else FAILED

    def _checked(
        self, value: ast.Value, evaluated: Constant, schema: FieldSchema
    ) -> object | Failed:
        if evaluated is None and schema.type.optional:
            return None
        converted = _converted(evaluated, schema)
        if not schema.type.accepts(converted):
            if isinstance(evaluated, str) and schema.type.enums:
                return self._unknown_choice(value, evaluated, schema)
            return self._wrong_type(value, schema, value_words(evaluated))
        if schema.constraint is not None and not schema.constraint.accepts(converted):
            self.environment.report(
                codes.OUT_OF_BOUNDS.at(
                    value.span,
                    f"`{schema.name}` must be {schema.constraint.words}, "
                    f"found {constant_text(evaluated)}",
                    secondary=self.environment.definition(value, evaluated),
                )
            )
            return FAILED
        return converted

    def _wrong_type(self, value: ast.Value, schema: FieldSchema, actual: str) -> Failed:
        unquoted = _without_quotes(value, schema)
        size = _as_size(value, schema)
        advice = (
            f"write it without quotes: `{unquoted}`" if unquoted else size and f"write `{size}`"
        )
        self.environment.report(
            codes.WRONG_TYPE.at(
                value.span,
                f"`{schema.name}` takes {describe(schema.type)}, found {actual}",
                secondary=self.environment.definition(value),
                help=(advice,) if advice else (),
                edits=(Edit(value.span, unquoted),) if unquoted else (),
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
    """The content of a string if it is a valid literal of the field's type."""
    forms = [_LITERALS[base] for base in schema.type.bases if base in _LITERALS]
    forms += ["none"] if schema.type.optional else []
    if isinstance(value, ast.String) and re.fullmatch("|".join(forms), value.value):
        return value.value or None
    return None


def _as_size(value: ast.Value, schema: FieldSchema) -> str | None:
    """`64` or `[64, 64]` written as a size: `64x64`."""
    sides = value.items if isinstance(value, ast.List) else (value, value)
    if Size not in schema.type.bases or len(sides) != 2:
        return None
    height, width = sides
    if isinstance(height, ast.Integer) and isinstance(width, ast.Integer):
        return f"{height.value}x{width.value}"
    return None


def _converted(value: Constant, schema: FieldSchema) -> object:
    """Convert a string to the choice it names, and an integer to a float where only floats fit."""
    bases = schema.type.bases
    if isinstance(value, str):
        return next((enum(value) for enum in schema.type.enums if value in enum), value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if float in bases and int not in bases else value
    if isinstance(value, tuple):
        return tuple(_converted(item, schema) for item in value)
    return value


MODULE_FIELDS: Final = ("grid", "frozen")
"""The fields of a module besides the fields of its kind; a preset may set them, too."""

_HEADERS: Final[tuple[tuple[type[Node], str], ...]] = ((Flow, "path"), (Schedule, "kind"))


def block_fields(cls: type[Node]) -> tuple[FieldSchema, ...]:
    """The fields that may be set in the block of a declaration, not before it.

    `cls` is the IR class of the declaration; for a preset or module, the class of its kind.
    """
    if issubclass(cls, Kind):
        return (*schema(cls), *(field for field in schema(Module) if field.name in MODULE_FIELDS))
    return tuple(field for field in schema(cls) if (cls, field.name) not in _HEADERS)
