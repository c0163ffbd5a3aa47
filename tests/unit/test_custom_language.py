"""Language models of other packages: registered, checked, planned as one stage, and not shrunk."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

import mimodsl
from mimodsl.ir import Spec
from mimodsl.ir.package import BrokenKind
from mimodsl.kinds import AT_LEAST_1, CustomLanguage, knob, node, register
from mimodsl.planner.families import family_of
from mimodsl.planner.memory import peak_memory
from mimodsl.planner.parameters import module_parameters
from mimodsl.planner.plan import plan
from mimodsl.planner.weights import weights_of
from mimodsl.planner.work.stage import model_flops
from mimodsl.runtime.verify.reference import alone, comparable
from mimodsl.runtime.verify.shrink import shrink

SPEC = """
grid llm {
  dense = dp:2
}

module vision : vit {
  layers = 2
  hidden = 512
  heads  = 8
  ffn    = 1024
  image  = 64x64
}

module projector : mlp_projector {}

module language : bag_of_words {
  hidden     = 48
  vocabulary = 300
}

flow vision -> projector -> language {
  token = 299
}

schedule no_pipelining {
  sequence     = 32
  micro_batch  = 2
  microbatches = 3
}
"""


@node
class BagOfWords(CustomLanguage):
    """Learned positions on top of words, a mean over earlier tokens, and logits."""

    keyword: ClassVar[str] = "bag_of_words"
    builder: ClassVar[str] = "bags:build"

    hidden: int = knob(check=AT_LEAST_1, doc="width of embeddings")
    vocabulary: int = knob(check=AT_LEAST_1, doc="token ids")
    dropout: str = knob(default="none", doc="a word that means something else in other kinds")

    def weights(self, sequence: int) -> Mapping[str, tuple[int, ...]]:
        return {
            "words.weight": (self.vocabulary, self.hidden),
            "positions.weight": (sequence, self.hidden),
            "logits.weight": (self.vocabulary, self.hidden),
        }

    def saved_bytes(self, sequence: int, element: int) -> int:
        return sequence * (self.hidden + self.vocabulary) * element

    def flops(self, sequence: int) -> int:
        return 2 * sequence * self.hidden * self.vocabulary


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimodsl.ir.registry.KINDS", dict(mimodsl.KINDS))
    register(BagOfWords)


def parsed(grid: str = "dp:2", text: str = SPEC) -> Spec:
    return mimodsl.parse(text.replace("dp:2", grid))


def codes(spec: Spec) -> list[str]:
    return [found.code for found in mimodsl.check(spec)]


def test_it_is_checked_and_written_like_any_other_kind() -> None:
    spec = parsed()
    assert codes(spec) == []
    assert mimodsl.parse(str(spec)) == spec
    assert mimodsl.from_json(mimodsl.to_json(spec)) == spec


def test_it_is_planned_as_one_layer_of_one_stage() -> None:
    spec = parsed()
    layout = plan(spec)
    language = layout.modules["language"]
    assert language.widths.hidden == 48
    assert (language.inputs, language.outputs) == ((32, 48), (32, 300))
    assert module_parameters(language).total == 2 * 300 * 48 + 32 * 48
    (role,) = (role for role in layout.rank(0).modules if role.name == "language")
    assert role.first
    assert role.last
    assert not role.layers
    kept = peak_memory(layout, 0).activation_memory.kept
    assert kept["language"] == {"own module": 2 * 32 * (48 + 300) * 2}
    frozen = spec.with_module("vision", frozen=True).with_module("projector", frozen=True)
    less = plan(frozen.with_module("language", frozen=True))
    assert model_flops(layout) - model_flops(less) >= 2 * 3 * 4 * 2 * 32 * 48 * 300


@pytest.mark.parametrize("grid", ["tp:2 * dp:1", "cp:2 * dp:1", "dp:1 * pp:2", "tp:2 * pp:2"])
def test_nothing_can_split_it(grid: str) -> None:
    text = SPEC.replace("no_pipelining", "1f1b" if "pp" in grid else "no_pipelining")
    text = text.replace(
        "grid llm", "grid eyes {\n  dense = dp:1\n}\n\nplace eyes | llm\n\ngrid llm"
    )
    text = text.replace("module vision : vit {", "module vision : vit {\n  grid = eyes")
    text = text.replace("mlp_projector {}", "mlp_projector {\n  grid = eyes\n}")
    text = text.replace("bag_of_words {", "bag_of_words {\n  grid = llm")
    loaded = mimodsl.check(parsed(grid, text))
    (found,) = [one for one in loaded if one.code == "MIMO560"]
    split = [axis for axis in grid.split(" * ") if not axis.endswith(":1")]
    assert all(f"`{axis}`" in found.message for axis in split)
    ranks = 4 if len(split) == 2 else 2
    assert found.help == (f"`dp:{ranks}` alone spreads samples over as many ranks",)


def test_what_makes_no_sense_is_a_mistake_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BagOfWords, "weights", lambda self, sequence: {"words": (sequence, 0)})
    (found,) = [one for one in mimodsl.check(parsed()) if one.code == "MIMO114"]
    assert "weights['words']" in found.message


def test_a_language_model_needs_its_two_fields() -> None:
    @node
    class Wordless(CustomLanguage):
        """It does not say how many words it knows."""

        keyword: ClassVar[str] = "wordless"
        builder: ClassVar[str] = "bags:build"

        hidden: int = knob(check=AT_LEAST_1, doc="width of embeddings")

    with pytest.raises(BrokenKind, match="needs a field `vocabulary`"):
        register(Wordless)


def test_its_weights_follow_from_the_length_of_samples() -> None:
    spec = parsed()
    longer = spec.with_schedule(sequence=64)
    assert weights_of(spec, spec.language) != weights_of(longer, longer.language)


def test_verify_runs_it_as_it_is() -> None:
    spec = parsed()
    small = shrink(spec)
    assert small.language == spec.language
    assert small.module("vision") != spec.module("vision")
    assert alone(comparable(small)).language == spec.language


def test_an_encoder_stays_as_wide_where_no_projector_leads_to_it() -> None:
    text = SPEC.replace("module projector : mlp_projector {}", "").replace("-> projector ", "")
    spec = parsed(text=text.replace("hidden     = 48", "hidden     = 512"))
    assert codes(spec) == []
    assert shrink(spec).module("vision") == spec.module("vision")


def test_fields_of_a_package_mean_nothing_to_us() -> None:
    kind = parsed().with_module("language", dropout="much").language.kind
    assert family_of(kind).dropout(kind) == 0.0
    assert kind.splits_sequence(4) is False
