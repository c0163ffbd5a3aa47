"""Values as Python source: literals, calls of named tuples, and names of what others define."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import attrs
from attrs import field, frozen

from mimodsl.ir.node import Node
from mimodsl.ir.projector import Between
from mimodsl.ir.schema import schema
from mimodsl.ir.types import Size
from mimodsl.planner.program.names import Call, Name

WIDTH: Final = 100
_PUBLIC: Final[dict[type, str]] = {Between: "mimodsl.kinds", Size: "mimodsl.kinds"}
"""Where packages find the classes of mimodsl that their kinds take."""


@frozen
class Written:
    """A value as an expression, and the objects of other modules that it names."""

    tree: ast.expr
    names: tuple[Name, ...] = field(converter=tuple)


def written(value: Any) -> Written:
    """A value as an expression that makes it. `TypeError` where none does."""
    names: list[Name] = []
    return Written(_tree(value, names), names)


def _tree(value: Any, names: list[Name]) -> ast.expr:
    match value:
        case ast.expr():
            return value
        case Name():
            return _named(value, names)
        case Call(function, positional, keywords):
            return _call(_named(function, names), positional, dict(keywords), names)
        case Node() | Between() | Size():
            return _called_class(type(value), _fields(value), names)
        case dict() | list() | tuple():
            return _container(cast(Any, value), names)
        case _:
            return _constant(value)


def _constant(value: Any) -> ast.expr:
    if value is None or isinstance(value, bool | int | float | str):
        # A StrEnum is a str whose repr is another.
        return ast.Constant(str(value) if isinstance(value, str) else value)
    raise TypeError(f"no expression makes {value!r}")


def _named(name: Name, names: list[Name]) -> ast.expr:
    """What torch defines is written in full, everything else by its bare name."""
    names.append(name)
    if name.module.partition(".")[0] == "torch":
        return ast.parse(f"{name.module}.{name.name}", mode="eval").body
    return ast.Name(name.name)


def _called_class(cls: type, values: dict[str, Any], names: list[Name]) -> ast.expr:
    name = Name(f"{_PUBLIC.get(cls, cls.__module__)}:{cls.__name__}")
    return _call(_named(name, names), (), values, names)


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, Node):
        return {each.name: getattr(value, each.name) for each in schema(type(value))}
    return attrs.asdict(value, recurse=False)


def _container(value: Any, names: list[Name]) -> ast.expr:
    """A container. A key of a dict that is an expression stands for all its items: `**key`."""
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        keys = [None if isinstance(key, ast.expr) else _tree(key, names) for key, _ in items]
        taken = [key if isinstance(key, ast.expr) else item for key, item in items]
        return ast.Dict(keys, [_tree(item, names) for item in taken])
    defaults: dict[str, Any] | None = getattr(value, "_field_defaults", None)
    if defaults is not None:
        given = value._asdict().items()
        needed = {key: item for key, item in given if key not in defaults or defaults[key] != item}
        return _called_class(type(cast(object, value)), needed, names)
    trees = [_tree(item, names) for item in value]
    return ast.List(trees) if isinstance(value, list) else ast.Tuple(trees)


def _call(
    function: ast.expr, positional: Sequence[Any], keywords: dict[str, Any], names: list[Name]
) -> ast.expr:
    words = [ast.keyword(key, _tree(item, names)) for key, item in keywords.items()]
    return ast.Call(function, [_tree(item, names) for item in positional], words)


def text(tree: ast.expr, indent: int = 0, used: int = 0, after: int = 1) -> str:
    """An expression as source, on one line where it fits, else one argument a line.

    `indent` is that of its line, `used` the width of what stands on the line before it, and `after`
    of what follows.
    """
    line = _line(tree)
    if (used or indent) + len(line) + after <= WIDTH:
        return line
    parts = _parts(tree)
    if parts is None:
        return line
    opening, items, closing = parts
    inner = indent + 4
    lines = [
        f"{' ' * inner}{label}{text(item, inner, inner + len(label), 1)}," for label, item in items
    ]
    return "\n".join([opening, *lines, " " * indent + closing])


def _parts(tree: ast.expr) -> tuple[str, list[tuple[str, ast.expr]], str] | None:
    """What brackets hold: the text before, labelled items, and the closing bracket."""
    match tree:
        case ast.Call(func, args, words) if args or words:
            items = [("", arg) for arg in args]
            return f"{_line(func)}(", items + [(f"{w.arg}=", w.value) for w in words], ")"
        case ast.Dict(keys, values) if keys:
            labels = ["**" if key is None else f"{_line(key)}: " for key in keys]
            return "{", list(zip(labels, values, strict=True)), "}"
        case ast.List(elts) if elts:
            return "[", [("", item) for item in elts], "]"
        case ast.Tuple(elts) if elts:
            return "(", [("", item) for item in elts], ")"
        case _:
            return None


def _line(tree: ast.expr) -> str:
    """On one line, strings in double quotes."""
    return "".join(_pieces(tree))


def _pieces(tree: ast.expr) -> Iterator[str]:
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield double_quoted(tree.value)
        return
    parts = _parts(tree)
    if parts is None:
        yield ast.unparse(tree)
        return
    opening, items, closing = parts
    yield opening
    yield ", ".join(f"{label}{_line(item)}" for label, item in items)
    if isinstance(tree, ast.Tuple) and len(items) == 1:
        yield ","
    yield closing


def double_quoted(value: str) -> str:
    """A string literal in double quotes."""
    inner = repr('"' + value)[2:-1]
    return '"' + inner.replace("\\'", "'").replace('"', '\\"') + '"'
