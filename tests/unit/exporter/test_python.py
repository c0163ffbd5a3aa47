"""Python scripts are sound and well formatted, and hold what the builder holds, for any spec."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest

import mimodsl
from mimodsl.builder.program import imported
from mimodsl.exporter.python.definitions import PACKAGE, Copied, Import, file
from mimodsl.exporter.python.literals import double_quoted, text, written
from mimodsl.exporter.target import Launch
from mimodsl.exporter.targets import target
from mimodsl.ir import Kernels, Size
from mimodsl.planner.plan import plan
from mimodsl.planner.program.names import Call, Name
from mimodsl.planner.programs import program

ROOT = Path(__file__).parents[3]
SPECS = {path.stem: mimodsl.load(path) for path in sorted((ROOT / "specs").glob("*.mimo"))}


def script(spec: mimodsl.Spec, **launch: object) -> str:
    launched = Launch(**{"name": "train", **launch})
    return target("python").write(launched.nodes(plan(spec)), launched)


def with_kernels(spec: mimodsl.Spec, kernels: Kernels) -> mimodsl.Spec:
    return attrs.evolve(spec, train=attrs.evolve(spec.train, kernels=kernels))


@pytest.mark.parametrize("kernels", [Kernels.LOCAL, Kernels.TRANSFORMER_ENGINE])
def test_scripts_have_no_fault_that_a_linter_finds(kernels, tmp_path):
    for stem, spec in SPECS.items():
        (tmp_path / f"{stem}.py").write_text(script(with_kernels(spec, kernels)))
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--select", "E,F,I"], ["format", "--check"]):
        ran = subprocess.run(
            [*ruff, *command, "--isolated", "--line-length", "100", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_script_needs_nothing_of_ours(spec):
    found = script(spec)
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(ast.parse(found))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    packages = {module.partition(".")[0] for module in modules}
    assert packages - set(sys.stdlib_module_names) == {"torch", "megatron"}


def test_a_script_is_written_without_torch():
    code = (
        "import sys\nfrom mimodsl.cli.main import main\n"
        f"assert main(['export', {str(ROOT / 'specs/nemotron_vlm.mimo')!r}, '--to', 'python']) == 0"
        "\nassert not {'torch', 'megatron'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_script_says_what_the_builder_is_told(spec):
    """The program as a script has it is the one that the builder gets for the same kernels."""
    spec = with_kernels(spec, Kernels.LOCAL)
    (function,) = [
        node
        for node in ast.parse(script(spec)).body
        if isinstance(node, ast.FunctionDef) and node.name == "program"
    ]
    function.returns = None
    expected = imported(program(plan(spec)))
    names = vars_of(script(spec))
    module = ast.fix_missing_locations(ast.Module([function], []))
    exec(compile(module, "program", "exec"), names)
    assert plain(names["program"]()) == plain(expected)


def vars_of(source: str) -> dict[str, Any]:
    """What a script knows before its program is asked for: imports, and ours by their names."""
    names: dict[str, Any] = {}
    imports = [
        node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    for path in titles(source):
        found = __import__(path.removesuffix(".py").replace("/", "."), fromlist=["x"])
        defined = {name: getattr(found, name) for name in file(found.__name__).definitions}
        names |= {name: value for name, value in defined.items() if name not in names}
    return names


def plain(value: Any) -> Any:
    """A program in values that compare: partials by what they call, kernels by their class."""
    if hasattr(value, "func"):
        return value.func, value.args, value.keywords
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [plain(item) for item in value]
    return type(value) if "Kernels" in type(value).__name__ else value


def titles(source: str) -> list[str]:
    return [line.split()[2] for line in source.splitlines() if line.startswith("# ---- mimodsl/")]


@pytest.mark.parametrize("kernels", [Kernels.LOCAL, Kernels.TRANSFORMER_ENGINE])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_definition_of_a_script_is_one_of_the_package_as_it_stands(spec, kernels):
    found = script(with_kernels(spec, kernels))
    ours = {
        definition
        for path in titles(found)
        for definition in map(stripped, definitions((ROOT / path).read_text()))
    }
    defined = definitions(found)
    assert len(defined) > 40
    for definition in defined:
        if not definition.startswith("def program()"):
            assert definition in ours


def definitions(source: str) -> list[str]:
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body:
        if isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.TypeAlias
        ):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            found.append("\n".join(lines[first - 1 : node.end_lineno]))
    return found


def stripped(source: str) -> str:
    """Without the comments that speak to checkers."""
    lines = [
        line.partition("  # noqa")[0].partition("  # pyright")[0] for line in source.split("\n")
    ]
    return "\n".join(lines)


def test_the_exporter_neither_runs_nor_changes_the_builder():
    """It reads files: no exec, no compile, no import of the builder, no assignment to others."""
    for path in (PACKAGE / "exporter").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"exec", "compile", "eval", "__import__", "setattr"}
            if isinstance(node, ast.ImportFrom):
                assert not str(node.module).startswith(("mimodsl.builder", "mimodsl.runtime"))
            if isinstance(node, ast.Assign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                assert not [each for each in targets if isinstance(each, ast.Attribute)]


def test_transformer_engine_has_its_own_layers():
    found = script(with_kernels(SPECS["gpt_moe"], Kernels.TRANSFORMER_ENGINE))
    assert "kernels=TransformerEngineKernels()" in found
    for local in ("LocalKernels", "FlashAttention", "LocalNorm"):
        assert local not in found
    assert '"transformer_impl": "transformer_engine"' in found


def test_what_names_a_spec_cannot_leave_the_docstring():
    hostile = 'x"""\nimport os\n\\'
    found = script(SPECS["gpt_moe"], name=hostile, source=hostile)
    tree = ast.parse(found)
    assert isinstance(tree.body[1], ast.Import)
    assert "import os" in (ast.get_docstring(tree) or "")


def test_what_no_script_can_have_is_refused():
    odd = SPECS["gpt_moe"]
    document = mimodsl.to_json(odd).replace('"language"', '"the language"')
    with pytest.raises(ValueError, match="'the language' is no name in Python"):
        script(mimodsl.from_json(document))


class Pair(NamedTuple):
    first: int
    second: int = 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ({"a": [1, (2,)]}, '{"a": [1, (2,)]}'),
        (Kernels.LOCAL, '"local"'),
        (Name("torch:float32"), "torch.float32"),
        (Call(Name("a.b:f"), (Name("a:g"),), {"x": None}), "f(g, x=None)"),
        (Pair(1), "Pair(first=1)"),
        (Pair(1, 3), "Pair(first=1, second=3)"),
        (Size(height=1, width=2), "Size(height=1, width=2)"),
    ],
)
def test_values_are_written_as_python(value, expected):
    assert text(written(value).tree) == expected


def test_a_value_that_no_expression_makes_is_refused():
    with pytest.raises(TypeError, match="no expression makes"):
        written([object()])
    assert double_quoted("a\nb") == '"a\\nb"'


def test_long_calls_have_an_argument_a_line():
    call = Call(Name("m:call"), (), {f"argument_{number}": number for number in range(10)})
    lines = text(written(call).tree).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("call(", ")", 12)


def test_a_definition_brings_what_it_needs():
    copied = Copied()
    copied.want("mimodsl.builder.schedule", "build_communicator")
    assert copied.definitions == {"mimodsl.builder.schedule": {"build_communicator"}}
    assert {"MimoModel", "ModuleLayout", "Any", "cast"} <= copied.imports.keys()
    copied.want("mimodsl.runtime.script", "deal")
    order = [source.module for source, _ in copied.sections()]
    assert order.index("mimodsl.planner.program.values") < order.index("mimodsl.runtime.samples")
    with pytest.raises(KeyError):
        copied.want("mimodsl.builder.schedule", "no_such")


def test_what_kinds_of_packages_take_is_imported_and_not_copied():
    copied = Copied()
    copied.want("mimodsl.kinds", "Size")
    assert not copied.definitions
    assert str(copied.imports["Size"]) == "from mimodsl.kinds import Size"


def test_one_name_has_one_meaning():
    copied = Copied()
    copied.add_import(Import(module="a", name="x", known="x"))
    with pytest.raises(ValueError, match="x means two things"):
        copied.add_import(Import(module="b", name="x", known="x"))
