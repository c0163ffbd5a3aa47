"""Kinds of other packages: found by their entry points, checked, planned, and refused in words."""

import json
import sys
from textwrap import dedent

import pytest

import mimodsl
from mimodsl.cli.main import main
from mimodsl.diagnostics import Severity
from mimodsl.ir.registry import forget_installed, installed_kinds
from mimodsl.ir.schema import schema
from mimodsl.kinds import register
from mimodsl.lower.loading import load_source
from mimodsl.lsp.describe import rule_page
from mimodsl.lsp.names import kind_of
from mimodsl.lsp.specs import scope_of
from mimodsl.planner.memory import peak_memory
from mimodsl.planner.parameters import module_parameters
from mimodsl.planner.plan import plan
from mimodsl.planner.transfer import transfers
from mimodsl.planner.work.stage import rank_work
from mimodsl.runtime.verify.shrink import shrink
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
        monkeypatch.delitem(sys.modules, module, raising=False)
    forget_installed()

    def change(name, text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    yield change
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
    assert module_parameters(plan(spec).modules["vision"]).total == 32 * 16 + 32
    memory = peak_memory(plan(spec), 0)
    assert memory.activation_memory.kept["vision"] == {"own module": 500}


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
        ("Strokes = 3\n", "is not a CustomEncoder"),
        ("from mimodsl.ir import Gpt as Strokes\n", "is not a CustomEncoder"),
        (KIND.replace('= "strokes"', '= "lines"'), "has another keyword, `lines`"),
        (KIND.replace("@node\n", ""), "is not a `@node`"),
        (KIND.replace("    builder:", "    maker:"), "needs a `builder: ClassVar[str]"),
        (KIND.replace("strokes_in_torch:build", "strokes_in_torch"), "needs a `builder"),
        (KIND.replace("width: int", "frozen: int"), "has a field `frozen`, a name that"),
        (
            KIND.replace("    side:", "    loose: int = 3\n    side:"),
            "`loose` that is not a `knob`",
        ),
        (KIND.replace("side: int", "side: dict"), "has a field `side` of an unsupported type"),
        (KIND.replace("default=8", "default=0"), "an invalid default for `side`: must be at"),
    ],
)
def test_a_broken_package_is_a_diagnostic(package, text, words):
    package("strokes_kind.py", text)
    assert words in codes(SPEC)["MIMO113"].message
    assert "strokes" not in installed_kinds()


def test_two_packages_with_one_word_are_a_diagnostic(package):
    package("strokes-1.0.dist-info/entry_points.txt", "[mimodsl.kinds]\nstrokes = other:Other\n")
    twin = {"METADATA": "Metadata-Version: 2.1\nName: twin\nVersion: 1.0\n"}
    twin["entry_points.txt"] = "[mimodsl.kinds]\nstrokes = strokes_kind:Strokes\n"
    for name, text in twin.items():
        package(f"twin-1.0.dist-info/{name}", text)
    assert "named by several packages: " in codes(SPEC)["MIMO113"].message


def test_a_word_of_mimodsl_stays_its_own(package):
    package(
        "strokes-1.0.dist-info/entry_points.txt", "[mimodsl.kinds]\nvit = strokes_kind:Strokes\n"
    )
    unknown = codes(SPEC.replace(": strokes", ": vit"))["MIMO201"]
    assert any("strokes_kind:Strokes" in note for note in unknown.notes)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("// 4) ** 2", "/ 4) ** 2", "gives 4.0 for `tokens`, expected an integer, at least 1"),
        ("return self.width", "return self.widht", "fails in `output_width`: AttributeError"),
        ("return 1, self.side, self.side", "return self.side", "gives 8 for `input_shape`"),
        ("def weights(self):", "def heights(self):", "does not define `weights`"),
        (
            '"conv.bias": (self.width,)',
            '"conv.bias": (0,)',
            "gives (0,) for `weights['conv",
        ),
        (
            "250 * element",
            "-element",
            "gives -4 for `saved_bytes`, expected an integer",
        ),
        ("def saved_bytes(self, element)", "def saved_bytes(self)", "fails in `saved_bytes`"),
    ],
)
def test_a_kind_without_sizes_is_a_diagnostic_and_nothing_follows_from_it(package, old, new, words):
    package("strokes_kind.py", KIND.replace(old, new))
    (found,) = codes(SPEC).values()
    assert found.code == "MIMO114"
    assert words in found.message
    assert found.notes == ("this is a mistake of the package that brings the kind",)


def test_a_rule_of_the_package_speaks_before_its_sizes(package):
    small = codes(SPEC.replace("width", "side = 3\n  width"))
    assert small.keys() == {"STROKES001"}
    package("strokes_rules.py", RULES.replace("encoder.kind.side % 4", "1 // 0"))
    for module in ("strokes_kind", "strokes_rules"):
        sys.modules.pop(module, None)
    forget_installed()
    crashed = codes(SPEC)["MIMO901"]
    assert "the rule STROKES001 of the kind `strokes` failed: ZeroDivisionError" in crashed.message
    assert "strokes_rules.py:" in crashed.message
    assert codes(SPEC.replace("width", "side = 3\n  width")).keys() == {"MIMO114"}


@pytest.mark.parametrize("text", ["RULES = 3\n", "", "RULES = (print,)\n", "import nothing\n"])
def test_broken_rules_are_a_diagnostic_and_the_others_run(package, text):
    package("strokes_rules.py", text)
    found = codes(SPEC.replace("dp:2\n}", "tp:2\n}", 1))
    assert "of the kind `strokes` cannot be loaded" in found["MIMO901"].message
    assert "MIMO559" in found


def test_a_kind_may_be_registered_in_place_and_is_held_to_the_same(monkeypatch):
    monkeypatch.setattr("mimodsl.ir.registry.KINDS", kinds := dict(mimodsl.KINDS))
    here = {"__name__": "here"}
    exec(KIND, here)
    assert register(here["Strokes"]) is here["Strokes"]
    assert register(here["Strokes"]) is kinds["strokes"]  # a cell of a notebook, run again
    spec = mimodsl.parse(SPEC.replace("width", "side = 12\n  width"))
    assert spec.module("vision").kind.tokens == 9
    document = json.loads(mimodsl.to_json(spec))
    assert document["modules"][0]["kind"]["type"] == "strokes"
    here["Strokes"].keyword = "pen-strokes"
    with pytest.raises(ValueError, match="needs a `keyword"):
        register(here["Strokes"])
    here["Strokes"].keyword = "vit"
    with pytest.raises(ValueError, match="has the keyword of mimodsl's own kind `vit`"):
        register(here["Strokes"])
    with pytest.raises(
        ValueError, match="is not a CustomEncoder, CustomProjector or CustomLanguage"
    ):
        register(mimodsl.Gpt)
    with pytest.raises(ValueError, match="3 is not a CustomEncoder"):
        register(3)


@pytest.mark.usefixtures("package")
def test_editors_know_it_too():
    main = load_source(source_of(SPEC, "<text>"), None).main
    assert main is not None
    kind = kind_of("strokes", scope_of(main))
    assert [field.name for field in schema(kind)] == ["side", "width"]
    assert kind_of("stroke", scope_of(main)) is None


PROJECTOR = dedent(
    '''\
    from __future__ import annotations

    from typing import ClassVar

    from mimodsl.kinds import AT_LEAST_1, CustomProjector, knob, node


    @node
    class Fold(CustomProjector):
        """Folds rows of tokens into one, and a product."""

        keyword: ClassVar[str] = "fold"
        builder: ClassVar[str] = "fold_in_torch:build"

        row: int = knob(default=2, check=AT_LEAST_1, doc="tokens in a row")

        def tokens(self, between):
            return between.tokens // self.row

        def weights(self, between):
            return {"weight": (between.hidden, between.width * self.row)}

        def flops(self, between):
            return 2 * between.tokens * between.width * between.hidden

        def saved_bytes(self, between, element):
            return between.tokens * between.width * element
    '''
)
FOLDED = SPEC.replace("mlp_projector {", "fold {")


@pytest.fixture
def fold(package, monkeypatch):
    """Adds a projector to the package."""
    monkeypatch.delitem(sys.modules, "fold_kind", raising=False)
    entries = "[mimodsl.kinds]\nstrokes = strokes_kind:Strokes\nfold = fold_kind:Fold\n"
    package("strokes-1.0.dist-info/entry_points.txt", entries)
    package("fold_kind.py", PROJECTOR)
    return package


@pytest.mark.usefixtures("fold")
def test_a_projector_changes_the_tokens_that_everything_counts_with():
    spec = mimodsl.parse(FOLDED)
    assert mimodsl.check(spec) == ()
    assert mimodsl.parse(str(spec)) == spec
    assert mimodsl.from_json(mimodsl.to_json(spec)) == spec
    planned = mimodsl.plan(spec)
    (bridge,) = planned.bridges
    assert bridge.sent == (2, 128)  # of one sample, four tokens without it
    assert module_parameters(plan(spec).modules["projector"]).total == 128 * 64
    assert peak_memory(planned, 0).activation_memory.kept["projector"] == {"own module": 4 * 32 * 2}
    work = {one.module.name: one.flops for one in rank_work(planned, 0)}
    assert work["projector"].forward == 2 * 4 * 32 * 128
    assert work["projector"].backward == 2 * work["projector"].forward
    assert transfers(spec, spec)[1].loads
    rows = mimodsl.parse(FOLDED.replace("fold {", "fold {\n  row = 4"))
    assert transfers(spec, rows)[1].reason == "row: 2 → 4"


@pytest.mark.usefixtures("fold")
def test_images_that_leave_no_room_are_counted_behind_the_projector():
    full = FOLDED.replace("token = 511", "token = 511, images = 8")
    assert "MIMO612" not in codes(full)
    found = codes(full.replace("images = 8", "images = 16"))["MIMO612"]
    assert found.message == "the images of a sample take 32 of 32 tokens"
    assert "or fewer images: `images = 15`" in found.help


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("// self.row", "// (self.row - 2)", "fails in `tokens`: ZeroDivisionError"),
        (
            "2 * between.tokens",
            "2.0 * between.tokens",
            "for `flops`, expected an integer",
        ),
        ("def weights", "def heights", "does not define `weights`"),
    ],
)
def test_a_projector_without_sizes_is_a_diagnostic(fold, old, new, words):
    fold("fold_kind.py", PROJECTOR.replace(old, new))
    (found,) = codes(FOLDED).values()
    assert found.code == "MIMO114"
    assert words in found.message


@pytest.mark.usefixtures("fold")
def test_an_encoder_without_sizes_silences_its_projector(package):
    package("strokes_kind.py", KIND.replace("return self.width", "return None"))
    assert codes(FOLDED).keys() == {"MIMO114"}


@pytest.mark.usefixtures("fold")
def test_a_verification_keeps_the_tokens_that_a_projector_takes():
    text = FOLDED.replace(": strokes", ": radio_h").replace("width = 32", "image = 256x256")
    large = mimodsl.parse(text.replace("sequence     = 32", "sequence     = 64"))
    small = shrink(large)
    old, new = (spec.module("vision").kind for spec in (large, small))
    assert (new.tokens, new.image, new.max_image) == (old.tokens, old.image, old.max_image)
    assert new.hidden < old.hidden
    assert mimodsl.check(small) == ()


@pytest.mark.usefixtures("package")
def test_an_encoder_on_tensor_parallel_ranks_is_told_of_its_price():
    apart = codes(SPEC.replace("dp:2\n}", "tp:2\n}", 1))
    assert apart["MIMO559"].severity is Severity.WARNING
    assert apart["MIMO559"].help == ("`dp:2` alone spreads samples over the same number of ranks",)
    shared = SPEC.replace("grid eye {\n  dense = dp:2\n}\n", "").replace("place eye | llm", "")
    (found,) = codes(
        shared.replace("grid  = eye", "grid  = llm").replace("= eye", "= llm")
    ).values()
    assert found.code == "MIMO559"
    assert found.help == (
        "`dp:2` on a grid of its own spreads samples over the same number of ranks",
    )


@pytest.mark.usefixtures("fold")
def test_commands_know_what_packages_bring(capsys, tmp_path):
    assert main(["explain", "STROKES001"]) == 0
    assert "a side that is not cut evenly" in capsys.readouterr().out
    assert rule_page("STROKES001").startswith("**STROKES001**")
    assert main(["explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["code"] == "STROKES001"
    path = tmp_path / "drawn.mimo"
    path.write_text(FOLDED)
    assert main(["check", str(path), "--ignore", "STROKES001"]) != 0
    assert "STROKES001 is an error" in capsys.readouterr().err
    kinds = mimodsl.json_schema()["$defs"]["kind"]["anyOf"]
    assert {"$ref": "#/$defs/fold"} in kinds
