"""How the files of the package import each other, read from their source: nothing is imported."""

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LATE_IMPORTS = {
    "mimodsl.ir.spec": "mimodsl.lower.printer",
    "mimodsl.planner.plan": "mimodsl.show.plan",
    "mimodsl.diagnostics.diagnostic": "mimodsl.diagnostics.render.full",
}
"""The imports that close a cycle on purpose: `str()` of a spec, of a plan and of a diagnostic is
what the command line prints, so each of the three classes imports its printer inside `__str__`."""


@cache
def files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    paths = {path.relative_to(ROOT).with_suffix(""): path for path in ROOT.glob("mimodsl/**/*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


def imports(tree: ast.AST, *, functions: bool = True):
    """The dotted names that a module imports, but for annotations (`if TYPE_CHECKING:`)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from imports(ast.Module(node.orelse, []), functions=functions)
        elif functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node, functions=functions)


@cache
def graph(*, functions: bool = True) -> dict[str, set[str]]:
    """The modules of the package that each module imports."""
    edges: dict[str, set[str]] = {}
    for name, path in files().items():
        found = set(imports(ast.parse(path.read_text()), functions=functions))
        modules = {each if each in files() else each.rpartition(".")[0] for each in found}
        edges[name] = (modules & set(files())) - {name}
    return edges


def without_late_imports() -> dict[str, set[str]]:
    return {name: edges - {LATE_IMPORTS.get(name)} for name, edges in graph().items()}


def reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    """The modules that a module imports, directly or through others."""
    seen: set[str] = set()
    left = [start]
    while left:
        new = edges[left.pop()] - seen
        seen |= new
        left += new
    return seen


def on_cycles(edges: dict[str, set[str]]) -> set[str]:
    return {name for name in edges if name in reachable(name, edges)}


def test_no_modules_import_each_other_in_a_circle():
    assert on_cycles(without_late_imports()) == set()


@pytest.mark.parametrize(("name", "printer"), LATE_IMPORTS.items())
def test_a_late_import_is_needed_and_inside_a_function(name, printer):
    assert printer in graph()[name]
    assert name in reachable(printer, graph())
    assert printer not in graph(functions=False)[name]


def test_the_late_imports_are_those_that_the_contracts_allow():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = tools["importlinter"]["contracts"]
    allowed = {line for each in contracts for line in each.get("ignore_imports", ())}
    assert allowed >= {f"{name} -> {printer}" for name, printer in LATE_IMPORTS.items()}


def test_only_what_shows_something_imports_rich():
    """`cli` makes the consoles; everything that is printed on them is in `show`."""
    users = {
        name
        for name, path in files().items()
        if any(each.split(".")[0] == "rich" for each in imports(ast.parse(path.read_text())))
    }
    assert {name for name in users if not name.startswith("mimodsl.show.")} == {
        "mimodsl.cli.terminal"
    }


def test_the_graph_sees_an_import_inside_a_function_and_none_of_annotations():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
        "def f():\n    from c import d\n"
    )
    assert set(imports(tree)) == {"typing.TYPE_CHECKING", "b", "c.d"}
    assert set(imports(tree, functions=False)) == {"typing.TYPE_CHECKING", "b"}
