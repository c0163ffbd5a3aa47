"""Definitions of this package, as they stand in its files, with what they need of each other.

A definition is a class, a function, a type or a value at the top of a file. A script gets its
source unchanged, the comments above it included. Only comments that speak to checkers (`# noqa`,
`# pyright:`) are left out.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

PACKAGE: Final = Path(__file__).parents[3] / "mimodsl"
_OURS: Final = "mimodsl."
_PUBLIC: Final = "mimodsl.kinds"
"""What packages with kinds of their own import; so does a script that holds such kinds."""
_TO_CHECKERS: Final = re.compile(r"# (?:noqa|pyright)\b")


@frozen(kw_only=True)
class Definition:
    """A name that a file defines: its source, and the names that it reads."""

    name: str
    source: str
    reads: tuple[str, ...]


@frozen(kw_only=True)
class Import:
    """What a file imports under a name: `from module import name`, or `import module`."""

    module: str
    name: str = ""
    known: str

    def __str__(self) -> str:
        plain = self.name or self.module
        renamed = "" if self.known in (plain, plain.partition(".")[0]) else f" as {self.known}"
        what = f"from {self.module} import " if self.name else "import "
        return f"{what}{plain}{renamed}"


@frozen(kw_only=True)
class File:
    """A file of this package: its first sentence, definitions in order, and imports by name."""

    module: str
    about: str
    definitions: Mapping[str, Definition]
    imports: Mapping[str, Import]


@define
class Copied:
    """Definitions that a script copies, by module, and the imports that they need, by name."""

    definitions: dict[str, set[str]] = field(factory=dict[str, set[str]])
    imports: dict[str, Import] = field(factory=dict[str, Import])
    _needs: dict[str, set[str]] = field(factory=dict[str, set[str]], init=False)

    def want(self, module: str, name: str) -> str:
        """Copy a definition with everything that it needs; the module that defines it.

        What another package defines is imported. `KeyError` where a file of this package defines no
        such name. `ValueError` where two things have one name.
        """
        if not module.startswith(_OURS) or module == _PUBLIC:
            self.add_import(Import(module=module, name=name, known=name))
            return module
        source = file(module)
        if name in source.imports:
            return self._want_import(source.imports[name])
        if name not in self.definitions.setdefault(module, set()):
            definition = source.definitions[name]
            self._insist_on_one(name, module)
            self.definitions[module].add(name)
            needs = self._needs.setdefault(module, set())
            for read in definition.reads:
                if read in source.definitions or read in source.imports:
                    needs.add(self.want(module, read))
        return module

    def add_import(self, needed: Import) -> None:
        """Import something of another package."""
        if self.imports.setdefault(needed.known, needed) != needed:
            raise ValueError(f"{needed.known} means two things in the script")

    def sections(self) -> Iterator[tuple[File, str]]:
        """Files in an order in which each comes after those that it needs, with what is copied."""
        for module in self._in_order():
            source, names = file(module), self.definitions[module]
            parts = [each.source for name, each in source.definitions.items() if name in names]
            yield source, "\n\n\n".join(parts)

    def _want_import(self, found: Import) -> str:
        if found.module.startswith(_OURS):
            assert found.known == found.name, f"{found} renames what a script copies by its name"
            return self.want(found.module, found.name)
        self.add_import(found)
        return found.module

    def _insist_on_one(self, name: str, module: str) -> None:
        others = [other for other, names in self.definitions.items() if name in names]
        if others or name in self.imports:
            raise ValueError(f"{name} of {module} means two things in the script")

    def _in_order(self) -> list[str]:
        order: dict[str, None] = {}

        def visit(module: str) -> None:
            for needed in sorted(self._needs[module] & self._needs.keys() - {module}):
                visit(needed)
            order.setdefault(module)

        for module in self._needs:
            visit(module)
        return list(order)


@cache
def file(module: str) -> File:
    """A file of this package, read and not run."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    source = path.read_text()
    tree = ast.parse(source)
    about = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    return File(
        module=module,
        about=" ".join(about.split()),
        definitions={each.name: each for each in _definitions(tree, _without_notes(source))},
        imports={each.known: each for node in tree.body for each in _imported(node)},
    )


def _definitions(tree: ast.Module, source: str) -> Iterator[Definition]:
    lines = source.splitlines()
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        name = _defined(node)
        if name is None:
            continue
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        while first > 1 and lines[first - 2].startswith("#"):
            first -= 1
        last = after.end_lineno if after is not None and _is_text(after) else node.end_lineno
        text = "\n".join(line.rstrip() for line in lines[first - 1 : last])
        yield Definition(name=name, source=text, reads=_reads(node))


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is the documentation of the value before it."""
    match node:
        case ast.Expr(ast.Constant(str())):
            return True
        case _:
            return False


def _defined(node: ast.stmt) -> str | None:
    match node:
        case ast.ClassDef(name) | ast.FunctionDef(name) | ast.AnnAssign(ast.Name(name)):
            return name
        case ast.TypeAlias(ast.Name(name)) | ast.Assign([ast.Name(name)]):
            return name
        case _:
            return None


def _reads(node: ast.stmt) -> tuple[str, ...]:
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    return tuple(dict.fromkeys(names))


def _imported(node: ast.stmt) -> Iterator[Import]:
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            known = alias.asname or alias.name
            yield Import(module=node.module or "", name=alias.name, known=known)
    if isinstance(node, ast.Import):
        for alias in node.names:
            known = alias.asname or alias.name.partition(".")[0]
            yield Import(module=alias.name, known=known)


def _without_notes(source: str) -> str:
    """Source without comments that speak to checkers; its lines stay as many."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and _TO_CHECKERS.match(token.string):
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(lines)
