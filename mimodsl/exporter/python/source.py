"""Definitions taken out of the builder's files, with what is known of a spec put in their place."""

import ast
import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mimodsl.exporter.python.code import Code, fitted, text
from mimodsl.exporter.python.trace import builder_files

_NOTES: Final = re.compile(r"[ ]*# (?:noqa|pyright)\b[^\n]*")
_NOTHING: Final[Mapping[str, Any]] = {}


@frozen(kw_only=True)
class _File:
    source: str
    definitions: Mapping[str, ast.stmt]
    imports: Mapping[str, str]


@cache
def _file(file: str) -> _File:
    source = builder_files()[file].read_text()
    tree = ast.parse(source)
    return _File(
        source=source,
        definitions={name: node for node in tree.body if (name := _defined(node)) is not None},
        imports={name: line for node in tree.body for name, line in imported(node)},
    )


def _defined(node: ast.stmt) -> str | None:
    """The name that a class, a function or an annotated value gives itself."""
    match node:
        case ast.ClassDef(name) | ast.FunctionDef(name) | ast.AnnAssign(ast.Name(name)):
            return name
        case _:
            return None


def imported(node: ast.stmt) -> Iterable[tuple[str, str]]:
    """The names that a statement imports, each with a statement that imports it alone."""
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"from {node.module} import {ast.unparse(alias)}"
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name, f"import {ast.unparse(alias)}"


@cache
def imports() -> Mapping[str, str]:
    """How the builder's files import what is not this project's, by name."""
    every = [_file(file).imports for file in builder_files()]
    return {
        name: line
        for found in every
        for name, line in found.items()
        if not line.startswith("from mimodsl")
    }


@cache
def _home() -> Mapping[str, str]:
    """The file of each definition of the builder."""
    return {name: file for file in builder_files() for name in _file(file).definitions}


def is_defined(name: str) -> bool:
    """Whether the builder defines it."""
    return name in _home()


def definition(
    name: str, known: Mapping[str, str | Code] = _NOTHING, *, without: Iterable[str] = ()
) -> str:
    """The source of a class, function or value of the builder, without what speaks to checkers.

    `known` are expressions, parameters and statements with what stands in their place, if anything;
    a branch on `True` or `False` is taken or left out. `without` names methods to leave out.
    `KeyError` for something that does not occur.
    """
    file = _file(_home()[name])
    node = file.definitions[name]
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    lines = file.source.splitlines(keepends=True)
    source = "".join(lines[first - 1 : node.end_lineno])
    if isinstance(node, ast.AnnAssign):
        assert node.value is not None
        start, end = _span(file.source, node.value)
        source = f"{name} = {file.source[start:end]}"
    for method in without:
        source = _without(source, method)
    for before, after in known.items():
        source = _substituted(source, before, after)
    return fitted(_NOTES.sub("", _without_casts(_folded(source))).rstrip()) + "\n"


def constant(path: Path, name: str) -> Any:
    """The plain value of a name in a file of ours, which is read and not run."""
    for node in ast.parse(path.read_text()).body:
        if _defined(node) == name and isinstance(node, ast.AnnAssign) and node.value:
            return ast.literal_eval(node.value)
    raise KeyError(name)


def _without(source: str, method: str) -> str:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == method:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            lines = source.splitlines(keepends=True)
            assert node.end_lineno is not None
            return "".join([*lines[: first - 1], *lines[node.end_lineno + 1 :]])
    raise KeyError(method)


def _substituted(source: str, before: str, after: str | Code) -> str:
    if re.fullmatch(r"\w+: .*", before):
        return _without_parameter(source, before)
    wanted = ast.unparse(ast.parse(before).body[0])
    # An expression that is a statement is found twice, at one place.
    edits = {
        (*_span(source, node), _as_text(after, source, node))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.expr | ast.stmt) and ast.unparse(node) == wanted
    }
    if not edits:
        raise KeyError(f"{before!r} does not occur")
    return _edited(source, edits)


def _without_parameter(source: str, parameter: str) -> str:
    head, brackets, rest = source.partition(" -> ")
    for words in (f"{parameter}, ", f", {parameter}", parameter):
        if words in head:
            return head.replace(words, "") + brackets + rest
    raise KeyError(f"{parameter!r} is no parameter")


def _as_text(after: str | Code, source: str, node: ast.expr | ast.stmt) -> str:
    if isinstance(after, str):
        return after
    line: str = source.splitlines()[node.lineno - 1]
    return text(after, len(line) - len(line.lstrip()), node.col_offset, after=2)


def _folded(source: str) -> str:
    """Branches on `True` and `False` taken."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.If | ast.IfExp) or not isinstance(node.test, ast.Constant):
            continue
        taken = node.body if node.test.value else node.orelse
        parts = taken if isinstance(taken, list) else [taken]
        return _folded(_edited(source, [(*_span(source, node), _joined(source, node, parts))]))
    return source


def _joined(source: str, node: ast.AST, parts: Iterable[ast.AST]) -> str:
    """What several statements say, at the place of another."""
    spans = [_span(source, part) for part in parts]
    if not spans:
        return ""
    start, end = spans[0][0], spans[-1][1]
    deeper = getattr(node, "col_offset", 0)
    here = source[start:end]
    if isinstance(node, ast.IfExp):
        return here
    indent = source[source.rfind("\n", 0, start) + 1 : start]
    return textwrap.indent(textwrap.dedent(indent + here), " " * deeper).lstrip()


def _without_casts(source: str) -> str:
    """`cast(T, x)` as `x`: types are for checkers."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(ast.Name("cast"), [_, value]):
                start, end = _span(source, value)
                edit = (*_span(source, node), source[start:end])
                return _without_casts(_edited(source, [edit]))
            case _:
                pass
    return source


def _span(source: str, node: Any) -> tuple[int, int]:
    """Where a node's text is; its columns count bytes."""
    lines = source.splitlines(keepends=True)

    def place(line: int, column: int) -> int:
        before = lines[line - 1].encode()[:column].decode()
        return sum(map(len, lines[: line - 1])) + len(before)

    return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)


def _edited(source: str, edits: Iterable[tuple[int, int, str]]) -> str:
    for start, end, after in sorted(edits, reverse=True):
        if after:
            source = source[:start] + after + source[end:]
            continue
        # A statement that goes takes its line, and the comments above it, along.
        begin = source.rfind("\n", 0, start) + 1
        while (above := source[:begin].splitlines()) and above[-1].lstrip().startswith("#"):
            begin -= len(above[-1]) + 1
        rest = source[end:].removeprefix("\n")
        source = source[:begin] + (rest.lstrip("\n") if source[:begin].endswith("\n\n") else rest)
    return source
