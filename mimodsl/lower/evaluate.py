"""Evaluates written values: literals, constants, and integer arithmetic."""

import operator
from collections.abc import Callable
from enum import Enum
from typing import Final

from attrs import frozen

from mimodsl.diagnostics import Diagnostic, codes
from mimodsl.ir.types import Size
from mimodsl.limits import MAX_INTEGER
from mimodsl.syntax import ast


class Failed(Enum):
    """Stands for a value that could not be computed; the reason is already reported."""

    FAILED = "failed"


FAILED: Final = Failed.FAILED

type Scalar = int | float | str | bool | Size | None
type Constant = Scalar | tuple[Constant, ...]

LITERAL_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "none": None}

_OPERATIONS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": lambda left, right: left // right,
    "%": operator.mod,
}


@frozen(kw_only=True, eq=False)
class Evaluator:
    """Evaluates values. `constant` gives the value of a word, or reports an unknown word."""

    constant: Callable[[ast.Word], Constant | Failed]
    report: Callable[[Diagnostic], None]

    def evaluate(self, value: ast.Value) -> Constant | Failed:
        """The value, or `FAILED` after a report."""
        match value:
            case ast.Integer() | ast.Float() | ast.String():
                result = value.value
            case ast.Size():
                result = Size(height=value.height, width=value.width)
            case ast.Word():
                known = value.text in LITERAL_WORDS
                result = LITERAL_WORDS[value.text] if known else self.constant(value)
            case ast.ParenthesisedValue():
                result = self.evaluate(value.value)
            case ast.List():
                result = self._list(value)
            case ast.Negation():
                result = self._negation(value)
            case ast.Arithmetic():
                result = self._arithmetic(value)
            case ast.Block():
                self.report(codes.NOT_A_CONSTANT.at(value.span, "a block is not a constant"))
                result = FAILED
        return result

    def _list(self, value: ast.List) -> Constant | Failed:
        items: list[Constant] = []
        failed = False
        for item in map(self.evaluate, value.items):
            if isinstance(item, Failed):
                failed = True
            else:
                items.append(item)
        return FAILED if failed else tuple(items)

    def _negation(self, value: ast.Negation) -> Constant | Failed:
        operand = self.evaluate(value.operand)
        if isinstance(operand, int | float) and not isinstance(operand, bool):
            return -operand
        return self._not_a_number(value.operand, operand, "a number")

    def _arithmetic(self, value: ast.Arithmetic) -> Constant | Failed:
        total = self._integer(value.first)
        for symbol, operand in value.rest:
            right = self._integer(operand)
            if isinstance(total, Failed) or isinstance(right, Failed):
                total = FAILED
                continue
            if right == 0 and symbol in ("//", "%"):
                return self._no_value(operand, f"`{symbol}` by zero")
            total = _OPERATIONS[symbol](total, right)
            if abs(total) > MAX_INTEGER:
                return self._no_value(value, "the result does not fit into 64 bits")
        return total

    def _integer(self, value: ast.Value) -> int | Failed:
        operand = self.evaluate(value)
        if isinstance(operand, int) and not isinstance(operand, bool):
            return operand
        return self._not_a_number(value, operand, "an integer")

    def _not_a_number(self, value: ast.Value, operand: Constant | Failed, wanted: str) -> Failed:
        if isinstance(operand, Failed):
            return FAILED
        return self._no_value(value, f"arithmetic needs {wanted}, found {value_words(operand)}")

    def _no_value(self, value: ast.Value, message: str) -> Failed:
        self.report(codes.BAD_ARITHMETIC.at(value.span, message))
        return FAILED


def value_words(value: object) -> str:
    """A value as a message describes it: `the integer 3`."""
    match value:
        case None:
            words = "`none`"
        case bool():
            words = f"`{str(value).lower()}`"
        case int():
            words = f"the integer {value}"
        case float():
            words = f"the float {value}"
        case str():
            words = f'the string "{value if len(value) <= 24 else value[:23] + "…"}"'
        case Size():
            words = f"the size {value}"
        case _:
            words = "a list" if isinstance(value, tuple) else "a block"
    return words


_KINDS: Final[dict[type, str]] = {
    type(None): "none",
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "string",
    Size: "size",
    tuple: "list",
}


def kind_of(value: Constant) -> str:
    """The type of a constant, which `--set` may not change."""
    return _KINDS[type(value)]
