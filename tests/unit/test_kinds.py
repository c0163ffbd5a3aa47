"""Kinds of other packages: found by their entry points, checked, planned, and refused in words."""

import json
from textwrap import dedent

import pytest

import mimodsl
from mimodsl.ir.installed import forget_installed, installed_kinds
from mimodsl.ir.lower.entry import load_source
from mimodsl.ir.schema import schema
from mimodsl.lsp.names import kind_of
from mimodsl.lsp.specs import scope_of
from mimodsl.plan import plan
from mimodsl.plan.memory import peak_memory
from mimodsl.plan.parameters import module_parameters
from mimodsl.syntax.reader import source_of

KIND = dedent(
    '''\
    from typing import ClassVar

    from mimodsl.kinds import AT_LEAST_1, CustomEncoder, knob, node


    @node
    class Strokes(CustomEncoder):
        """A convolution over strokes."""

        keyword: ClassVar[str] = "strokes"
        builder: ClassVar[str] = "strokes_in_torch:build"
        rules: ClassVar[str] = "strokes_rules:RULES"

        side: int = knob(default=8, check=AT_LEAST_1, doc="pixels a side")
        width: int = knob(check=AT_LEAST_1, doc="channels")

        @property
        def input_shape(self):
            return 1, self.side, self.side

        @property
        def tokens(self):
            return (self.side // 4) ** 2

        @property
        def output_width(self):
            return self.width

        @property
        def weights(self):
            return {"conv.weight": (self.width, 1, 4, 4), "conv.bias": (self.width,)}

        def saved_bytes(self, element):
            return 250 * element
    '''
)
RULES = dedent(
    '''\
    from mimodsl.kinds import Cost, Finding, Scope, held, rule
    from strokes_kind import Strokes


    @rule(
        "STROKES001",
        "a side that is not cut evenly",
        scope=Scope("one stroke encoder", lambda spec: held(spec, Strokes)),
        cost=Cost.SILENT,
    )
    def whole_strokes(spec, encoder):
        """Sides are multiples of four."""
        if encoder.kind.side % 4:
            yield Finding(
                message=f"{encoder.kind.side} pixels are no multiple of 4",
                primary=spec.label(encoder.kind, "side"),
            )


    RULES = (whole_strokes,)
    '''
)
SPEC = """
use "presets/nemotron_small.mimo"

grid eye {
  dense = dp:2
}

grid llm {
  dense  = tp:2
  expert = ep:2 * pp
}

place eye | llm

module vision : strokes {
  grid  = eye
  width = 32
}

module projector : mlp_projector {
  grid = eye
}

module language : nemotron_small {
  grid = llm
}

flow vision -> projector -> language {
  token = 511
}

schedule 1f1b {
  sequence     = 32
  micro_batch  = 2
  microbatches = 2
}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package of a kind; what it returns changes a file of it, before anyone looks."""
    info = tmp_path / "strokes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strokes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mimodsl.kinds]\nstrokes = strokes_kind:Strokes\n")
    (tmp_path / "strokes_kind.py").write_text(KIND)
    (tmp_path / "strokes_rules.py").write_text(RULES)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("strokes_kind", "strokes_rules"):
        monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    forget_installed()
    yield lambda name, text: (tmp_path / name).write_text(text)
    forget_installed()


def codes(text):
    try:
        found = mimodsl.check(mimodsl.parse(text))
    except mimodsl.InvalidSpec as invalid:
        found = invalid.diagnostics
    return {one.code: one for one in found}


@pytest.mark.usefixtures("package")
def test_an_installed_kind_is_as_good_as_a_built_in_one():
    spec = mimodsl.parse(SPEC)
    assert mimodsl.check(spec) == ()
    assert mimodsl.parse(str(spec)) == spec
    assert mimodsl.from_json(mimodsl.to_json(spec)) == spec
    assert spec.module("vision").kind.width == 32
    (bridge,) = mimodsl.plan(spec).bridges
    assert bridge.sent == (4, 128)
    assert "strokes" in installed_kinds()


@pytest.mark.usefixtures("package")
def test_its_weights_and_activations_are_planned():
    spec = mimodsl.parse(SPEC)
    assert module_parameters(spec, spec.module("vision")).total == 32 * 16 + 32
    memory = peak_memory(plan(spec), 0)
    assert memory.passes.kept["vision"] == {"own module": 500}


@pytest.mark.usefixtures("package")
def test_its_fields_and_rules_are_checked():
    assert (
        "no multiple of 4"
        in codes(SPEC.replace("width", "side = 9\n  width"))["STROKES001"].message
    )
    assert "at least 1" in codes(SPEC.replace("width = 32", "width = 0"))["MIMO203"].message
    assert "MIMO201" in codes(SPEC.replace("width = 32", "width = 32, depth = 3"))
    assert "MIMO559" in codes(SPEC.replace("dp:2\n}", "tp:2\n}", 1))
    assert "MIMO612" in codes(SPEC.replace("width = 32", "side = 32, width = 32"))


@pytest.mark.usefixtures("package")
def test_a_misspelt_kind_is_told_of_the_installed_ones():
    found = codes(SPEC.replace(": strokes", ": stroke"))["MIMO103"]
    assert found.help == ("did you mean `strokes`?",)


def test_a_kind_that_nobody_has_installed_is_unknown():
    assert "MIMO103" in codes(SPEC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_the_kind\n", "ModuleNotFoundError"),
        ("raise RuntimeError('worn out')\n", "RuntimeError: worn out"),
        ("Strokes = 3\n", "is no CustomEncoder"),
        ("from mimodsl.ir import Gpt as Strokes\n", "is no CustomEncoder"),
        (KIND.replace('= "strokes"', '= "lines"'), "has another keyword"),
    ],
)
def test_a_broken_package_is_a_diagnostic(package, text, words):
    package("strokes_kind.py", text)
    assert words in codes(SPEC)["MIMO113"].message
    assert "strokes" not in installed_kinds()


@pytest.mark.parametrize("text", ["RULES = 3\n", "", "RULES = (print,)\n", "import nothing\n"])
def test_broken_rules_are_a_diagnostic_and_the_others_run(package, text):
    package("strokes_rules.py", text)
    found = codes(SPEC.replace("dp:2\n}", "tp:2\n}", 1))
    assert "of the kind `strokes` cannot be had" in found["MIMO901"].message
    assert "MIMO559" in found


def test_a_kind_may_be_registered_in_place(monkeypatch):
    monkeypatch.setattr(mimodsl.ir.kinds, "KINDS", dict(mimodsl.KINDS))
    namespace = {"__name__": "here"}
    exec(KIND, namespace)
    monkeypatch.setitem(mimodsl.KINDS, "strokes", namespace["Strokes"])
    spec = mimodsl.parse(SPEC.replace("width", "side = 12\n  width"))
    assert spec.module("vision").kind.tokens == 9
    document = json.loads(mimodsl.to_json(spec))
    assert document["modules"][0]["kind"]["type"] == "strokes"


@pytest.mark.usefixtures("package")
def test_editors_know_it_too():
    main = load_source(source_of(SPEC, "<text>"), None).main
    assert main is not None
    kind = kind_of("strokes", scope_of(main))
    assert [field.name for field in schema(kind)] == ["side", "width"]
    assert kind_of("stroke", scope_of(main)) is None
