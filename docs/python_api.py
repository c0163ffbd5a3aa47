"""The page of the Python API: signatures and docstrings, read from the source, not imported."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_WIDTH: Final = 88

SECTIONS: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "Reading and writing",
        "mimodsl/api.py",
        (
            ("mimodsl", "load"),
            ("mimodsl", "parse"),
            ("mimodsl", "to_json"),
            ("mimodsl", "from_json"),
            ("mimodsl", "json_schema"),
            ("mimodsl", "InvalidSpec"),
        ),
    ),
    (
        "Checking, planning, building",
        "mimodsl/api.py",
        (("mimodsl", "check"), ("mimodsl", "plan"), ("mimodsl", "build"), ("mimodsl", "join")),
    ),
    ("Training", "mimodsl/api.py", (("mimodsl", "train"),)),
    ("", "mimodsl/runtime/run.py", (("mimodsl.runtime.run", "Run"),)),
    (
        "",
        "mimodsl/runtime/train.py",
        (("mimodsl.runtime.train", "Step"), ("mimodsl.runtime.train", "Evaluation")),
    ),
    ("", "mimodsl/runtime/workers.py", (("mimodsl.runtime.workers", "Observer"),)),
    ("", "mimodsl/api.py", (("mimodsl", "build_on_meta"), ("mimodsl", "verify"))),
    (
        "",
        "mimodsl/runtime/verify/verify.py",
        (("mimodsl.runtime.verify.verify", "Verification"),),
    ),
    ("", "mimodsl/runtime/verify/verdict.py", (("mimodsl.runtime.verify.verdict", "Verdict"),)),
    ("Exporting", "mimodsl/api.py", (("mimodsl", "export"),)),
    ("", "mimodsl/exporter/target.py", (("mimodsl.exporter.target", "Launch"),)),
    ("Comparing", "mimodsl/api.py", (("mimodsl", "diff"),)),
    ("", "mimodsl/planner/difference.py", (("mimodsl.planner.difference", "Difference"),)),
    ("Sweeps", "mimodsl/api.py", (("mimodsl", "sweep"), ("mimodsl", "Variant"))),
    ("The spec", "mimodsl/ir/spec.py", (("mimodsl", "Spec"),)),
    ("The plan", "mimodsl/planner/plan.py", (("mimodsl.planner.plan", "Plan"),)),
    (
        "",
        "mimodsl/planner/plan.py",
        (("mimodsl.planner.plan", "RankPlan"), ("mimodsl.planner.plan", "Summary")),
    ),
    ("", "mimodsl/planner/roles.py", (("mimodsl.planner.roles", "ModuleRole"),)),
    ("", "mimodsl/planner/groups.py", (("mimodsl.planner.groups", "GroupPlan"),)),
    ("", "mimodsl/planner/bridges.py", (("mimodsl.planner.bridges", "BridgePlan"),)),
    (
        "The time of a step",
        "mimodsl/planner/time/step.py",
        (("mimodsl.planner.time", "least_time"),),
    ),
    ("", "mimodsl/planner/time/accelerator.py", (("mimodsl.planner.time", "Accelerator"),)),
    (
        "",
        "mimodsl/planner/time/least.py",
        (
            ("mimodsl.planner.time", "StepTime"),
            ("mimodsl.planner.time", "StageTime"),
            ("mimodsl.planner.time", "Least"),
        ),
    ),
    ("Diagnostics", "mimodsl/diagnostics/diagnostic.py", (("mimodsl.diagnostics", "Diagnostic"),)),
    (
        "On a rank",
        "mimodsl/builder/assembly.py",
        (("mimodsl.builder.assembly", "Assembly"), ("mimodsl.builder.assembly", "StepResult")),
    ),
    ("Data of your own", "mimodsl/data.py", (("mimodsl.data", "Data"),)),
    (
        "Kinds of your own",
        "mimodsl/ir/package.py",
        (
            ("mimodsl.kinds", "CustomKind"),
            ("mimodsl.kinds", "CustomEncoder"),
            ("mimodsl.kinds", "CustomProjector"),
            ("mimodsl.kinds", "CustomLanguage"),
        ),
    ),
    ("", "mimodsl/ir/projector.py", (("mimodsl.kinds", "Between"),)),
    ("", "mimodsl/ir/registry.py", (("mimodsl.kinds", "register"),)),
)
"""Title, file, and names with the module that users import them from; no title: it goes on."""

type _Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """A section for each public name."""
    parts: list[str] = []
    for title, path, names in SECTIONS:
        if title:
            parts.append(f"## {title}")
        tree = ast.parse((ROOT / path).read_text())
        found = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        for module, name in names:
            parts += _entry(module, found[name])
    return "\n" + "\n\n".join(parts) + "\n\n"


def _entry(module: str, node: _Function | ast.ClassDef) -> Iterator[str]:
    yield f"### `{module}.{node.name}`"
    if isinstance(node, ast.ClassDef):
        yield from _class(node)
    else:
        yield _code(_signature(node))
        yield _words(node)


def _class(node: ast.ClassDef) -> Iterator[str]:
    yield _words(node)
    fields = [
        f"{each.target.id}: {ast.unparse(each.annotation)}"
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and not each.target.id.startswith("_")
    ]
    if fields:
        yield _code("\n".join(fields))
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            words = _words(each)
            if words:
                yield f"#### `{_label(node, each)}`"
                if not _is_property(each):
                    yield _code(_signature(each))
                yield words


def _label(owner: ast.ClassDef, node: _Function) -> str:
    return f"{owner.name}.{node.name}"


def _is_property(node: _Function) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)


def _signature(node: _Function) -> str:
    """On one line where that is short enough, else an argument a line."""
    returns = f" -> {ast.unparse(node.returns).strip("'")}" if node.returns else ""
    arguments = list(_arguments(_own_arguments(node)))
    line = f"{node.name}({', '.join(arguments)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return f"{node.name}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){returns}"


def _own_arguments(node: _Function) -> ast.arguments:
    arguments = node.args
    if arguments.args and arguments.args[0].arg == "self":
        arguments.args = arguments.args[1:]
    return arguments


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    missing = [None] * (len(arguments.args) - len(arguments.defaults))
    for one, default in zip(arguments.args, [*missing, *arguments.defaults], strict=True):
        yield _argument(one, default)
    if arguments.kwonlyargs:
        yield "*"
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(one, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(argument)
    return f"{ast.unparse(argument)} = {ast.unparse(default)}"


def _code(text: str) -> str:
    return f"```python signature\n{text}\n```"


def _words(node: _Function | ast.ClassDef) -> str:
    """The docstring as Markdown: a `Raises:` section becomes a sentence."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    return re.sub(r"^Raises:\n {4}(\w+): ", r"Raises `\1` ", text, flags=re.MULTILINE)
