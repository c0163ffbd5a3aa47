"""Python scripts are sound and well formatted, and say what the builder says, for any spec."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.optimizer import OptimizerConfig
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.transformer.transformer_config import TransformerConfig

import mimodsl
from mimodsl.exporter.python.code import Code, name, said, text
from mimodsl.exporter.python.source import definition
from mimodsl.exporter.target import Launch
from mimodsl.exporter.targets import target
from mimodsl.ir import Kernels
from mimodsl.planner.plan import plan

ROOT = Path(__file__).parents[3]
SPECS = {path.stem: mimodsl.load(path) for path in sorted((ROOT / "specs").glob("*.mimo"))}
CALLED = (
    TransformerConfig,
    OptimizerConfig,
    DistributedDataParallelConfig,
    OptimizerParamScheduler,
)
"""Whose arguments that are None a script leaves out."""


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


def test_transformer_engine_has_no_layers_of_ours():
    found = script(with_kernels(SPECS["gpt_moe"], Kernels.TRANSFORMER_ENGINE))
    assert "TESpecProvider()" in found
    assert "LocalKernels" not in found
    assert 'transformer_impl="transformer_engine"' in found


@pytest.mark.parametrize("callee", CALLED)
def test_an_argument_that_is_left_out_is_none_all_the_same(callee):
    """Where a default is not None, a script must not leave a None out; the builder passes none."""
    passed = {
        keyword.arg
        for node in ast.walk(ast.parse(script(SPECS["nemotron_vlm"])))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == callee.__name__
        for keyword in node.keywords
    }
    defaults = {name: one.default for name, one in inspect.signature(callee).parameters.items()}
    assert passed - {None} <= defaults.keys()
    build = (ROOT / "mimodsl/build").glob("*.py")
    named = {
        keyword.arg
        for path in build
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == callee.__name__
        for keyword in node.keywords
    }
    left_out = named - passed - {None}
    assert all(defaults[field] is None for field in left_out)


def test_what_names_a_spec_cannot_leave_the_docstring(tmp_path):
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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('say "hi"', '"say \\"hi\\""'),
        ("it's", '"it\'s"'),
        ({"a": [1, (2,)]}, '{"a": [1, (2,)]}'),
        (name("f")(x=None, y=name("g").h[0]), "f(x=None, y=g.h[0])"),
        (said(name("f")(x=None, y=2)), "f(y=2)"),
        (name("a") == 0, "a == 0"),
    ],
)
def test_values_are_written_as_python(value, expected):
    assert text(value) == expected


def test_long_calls_have_an_argument_a_line():
    call = name("call")(**{f"argument_{number}": number for number in range(10)})
    lines = text(call).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("call(", ")", 12)


def test_what_only_a_rank_knows_is_not_decided_here():
    with pytest.raises(TypeError, match=r"groups\.rank is the script's to decide"):
        bool(name("groups").rank)
    with pytest.raises(TypeError, match="to walk through"):
        list(name("groups"))
    assert isinstance(name("groups", size=3).rank, Code)
    assert name("groups", size=3).size == 3


def test_definitions_lose_branches_that_are_decided():
    known = {"model.role.mode is ModuleLayout.COLOCATED": "False"}
    assert "return None" in definition("build_communicator")
    assert "return None" not in definition("build_communicator", known)
    assert "cast(" not in definition("build_communicator")
    with pytest.raises(KeyError, match="does not occur"):
        definition("build_communicator", {"no.such": "True"})
    with pytest.raises(KeyError):
        definition("OneNormOptimizer", without=["no_such"])
