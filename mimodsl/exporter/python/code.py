"""Expressions of a script: what stands for a value that only the script will have, and its text."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

WIDTH = 100


class Code:
    """An expression that is written, not evaluated: whatever is done to it is written, too.

    `known` are attributes whose values are not to be written but had at once. Neither its truth nor
    a walk through it can be had: a branch that depends on a rank is the script's to take.
    """

    def __init__(self, tree: ast.expr, known: Mapping[str, Any] | None = None) -> None:
        self.code_tree = tree
        self.code_known = known or {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.code_known:
            return self.code_known[name]
        return Code(ast.Attribute(self.code_tree, name, ast.Load()))

    def __call__(self, *args: Any, **kwargs: Any) -> "Code":
        keywords = [ast.keyword(name, tree_of(value)) for name, value in kwargs.items()]
        return Code(ast.Call(self.code_tree, [tree_of(value) for value in args], keywords))

    def __getitem__(self, key: Any) -> "Code":
        return Code(ast.Subscript(self.code_tree, tree_of(key), ast.Load()))

    def __eq__(self, other: object) -> Any:
        return Code(ast.Compare(self.code_tree, [ast.Eq()], [tree_of(other)]))

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(f"{text(self)} is the script's to decide")

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"{text(self)} is the script's to walk through")

    def __or__(self, other: object) -> "Code":
        """Of types alone, in annotations, which are not written."""
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        """A class that is based on what is written has, here, only what it says itself."""
        return ()


def name(text: str, **known: Any) -> Code:
    """An expression given as text."""
    return Code(ast.parse(text, mode="eval").body, known)


def keywords(call: Code) -> dict[str, Code]:
    """The keyword arguments of a call, each as code."""
    tree = call.code_tree
    assert isinstance(tree, ast.Call)
    return {str(word.arg): Code(word.value) for word in tree.keywords}


def items(listed: Code) -> list[Code]:
    """The items of a list, each as code."""
    tree = listed.code_tree
    assert isinstance(tree, ast.List)
    return [Code(item) for item in tree.elts]


def said(call: Code) -> Code:
    """A call without the arguments that are None, which is what they are if not given, too."""
    tree = call.code_tree
    assert isinstance(tree, ast.Call)
    words = [word for word in tree.keywords if ast.unparse(word.value) != "None"]
    return Code(ast.Call(tree.func, tree.args, words))


def tree_of(value: Any) -> ast.expr:
    """A value as an expression that makes it. `TypeError` where none does."""
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return ast.Dict([tree_of(key) for key in items], [tree_of(item) for item in items.values()])
    if isinstance(value, list | tuple):
        trees = [tree_of(item) for item in cast("Sequence[Any]", value)]
        return (ast.List if isinstance(value, list) else ast.Tuple)(trees, ast.Load())
    return _single(value)


def _single(value: Any) -> ast.expr:
    if isinstance(value, Code):
        return value.code_tree
    if isinstance(value, partial):
        bound = cast("partial[Any]", value)
        return tree_of(name("partial")(bound.func, *bound.args, **bound.keywords))
    if isinstance(value, type) or callable(value):
        return ast.Name(value.__name__, ast.Load())
    if value is None or isinstance(value, bool | int | float | str):
        # A StrEnum is a str whose repr is another.
        return ast.Constant(str(value) if isinstance(value, str) else value)
    raise TypeError(f"no expression makes {value!r}")


def text(value: Any, indent: int = 0, used: int = 0, after: int = 1) -> str:
    """A value as source, on one line where it fits, else one argument a line.

    `indent` is that of its line, `used` what stands on it before, and `after` what follows.
    """
    return _text(tree_of(value), indent, used or indent, after)


def _text(tree: ast.expr, indent: int, used: int, after: int) -> str:
    line = _line(tree)
    if used + len(line) + after <= WIDTH:
        return line
    parts = _parts(tree)
    if parts is None:
        return line
    opening, items, closing = parts
    inner = indent + 4
    lines = [
        f"{' ' * inner}{label}{_text(item, inner, inner + len(label), 1)}," for label, item in items
    ]
    return "\n".join([opening, *lines, " " * indent + closing])


def _parts(tree: ast.expr) -> tuple[str, list[tuple[str, ast.expr]], str] | None:
    """What brackets hold: what stands before, labelled items, and the closing one."""
    match tree:
        case ast.Call(func, args, words) if args or words:
            items = [("", arg) for arg in args]
            return f"{_line(func)}(", items + [(f"{w.arg}=", w.value) for w in words], ")"
        case ast.Dict(keys, values) if keys:
            labels = [f"{_line(cast(ast.expr, key))}: " for key in keys]
            return "{", list(zip(labels, values, strict=True)), "}"
        case ast.List(elts) if elts:
            return "[", [("", item) for item in elts], "]"
        case ast.Tuple(elts) if elts:
            return "(", [("", item) for item in elts], ")"
        case _:
            return None


def _line(tree: ast.expr) -> str:
    """On one line, strings in double quotes."""
    return ast.unparse(_Quoted().visit(tree)).replace("torch.nn.functional.", "F.")


def fitted(source: str) -> str:
    """Source whose function heads are on one line each, where that is wide enough."""

    def joined(match: re.Match[str]) -> str:
        line = f"{match[1]}({match[2].strip().rstrip(',')}){match[3]}"
        return line if len(line) <= WIDTH else match[0]

    return re.sub(r"^( *def \w+)\(\n([^\n]*)\n *\)([^\n]*:)$", joined, source, flags=re.MULTILINE)


class _Quoted(ast.NodeTransformer):
    """Strings as names that have their text in double quotes."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        return ast.Name(double_quoted(node.value), ast.Load())


def double_quoted(value: str) -> str:
    """A string literal in double quotes."""
    inner = repr('"' + value)[2:-1]
    return '"' + inner.replace("\\'", "'").replace('"', '\\"') + '"'
