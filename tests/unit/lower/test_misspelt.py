"""A misspelt word is one mistake, and is read on as what was meant, so that it hides no other."""

import re
from pathlib import Path

import pytest

from mimodsl.checker.runner import check
from mimodsl.lower import parse
from mimodsl.source import Span
from tests.unit.lower.texts import BASE, GPT, GRID, SCHEDULE, spec_of

SPECS = Path(__file__).parents[3] / "specs"
NAMED = ("nemotron_vlm_pp", "nemotron_vlm_colocated", "nemotron_3_nano_vlm", "gpt_moe_vlm")


def words(text: str) -> list[re.Match[str]]:
    """The longer words of a spec, without those of comments and strings."""
    blank = re.sub(r"#.*|\"[^\"\n]*\"", lambda found: " " * len(found[0]), text)
    return list(re.finditer(r"\b[a-z]\w{4,}\b", blank))


@pytest.mark.parametrize("name", NAMED)
def test_a_letter_left_out_is_one_mistake(name: str) -> None:
    path = SPECS / f"{name}.mimo"
    text = path.read_text()
    certain = 0
    for word in words(text):
        place = word.start() + len(word[0]) // 2
        loaded = parse(text[:place] + text[place + 1 :], str(path))
        found = [*loaded.diagnostics, *check(loaded.spec or loaded.draft)]
        assert len({(one.code, one.message) for one in found}) <= 1, (word[0], found)
        for mistake in found:
            for edit in mistake.edits:
                assert isinstance(edit.span, Span)
                if edit.span.start == word.start() and edit.replacement == word[0]:
                    certain += 1
    assert certain > len(words(text)) / 2


@pytest.mark.parametrize(
    ("meant", "written"),
    [
        ("precision  = bf16", "precison = bf16"),
        ("attention = {", "atention = {"),
        ("kv_groups", "kv_group"),
        ("= squared_relu", "= squared_rel"),
        (": hybrid", ": hybird"),
        (": small", ": smal"),
        ("grid = llm", "grid = lllm"),
        ("flow vision ->", "flow visoin ->"),
        ("place encoder |", "place encodr |"),
        ("schedule 1f1b", "schedule 1f1"),
        ("dp:replicas", "dp:replica"),
        ("ranks = world", "rank = world"),
    ],
)
def test_what_is_misspelt_is_read_as_what_was_meant(meant: str, written: str) -> None:
    text = WHOLE
    assert meant in text
    spec = spec_of(text)
    loaded = parse(text.replace(meant, written, 1))
    assert len(loaded.diagnostics) == 1
    assert loaded.spec is None
    draft = loaded.draft
    assert (draft.grids, draft.place, draft.modules) == (spec.grids, spec.place, spec.modules)
    assert (draft.flows, draft.schedule, draft.train) == (spec.flows, spec.schedule, spec.train)


WHOLE = """let replicas = 2
let world = 4
grid encoder {
  ranks = world
  dense = tp:2 * dp:_
}
grid llm {
  dense = tp:2 * dp:replicas
}
place encoder | llm
preset small : vit {
  layers = 2
  hidden = 64
  image = 32x32
  patch = 16
  heads = 4
  ffn = 128
}
module vision : small {
  grid = encoder
}
module projector : mlp_projector {
  grid = encoder
}
module language : hybrid {
  grid = llm
  pattern = "**-"
  hidden = 64
  vocabulary = 512
  ffn = 128
  activation = squared_relu
  attention = { heads = 4, kv_groups = 2 }
}
flow vision -> projector -> language {
  token = 5
}
schedule 1f1b {
  sequence = 64
}
train {
  precision  = bf16
}
"""


def test_rules_see_past_a_misspelt_word() -> None:
    module = f"module language : gpt {{\n  {GPT.replace('hidden = 64', 'hiden = 66')}\n}}\n"
    loaded = parse(BASE + module)
    assert [one.code for one in loaded.diagnostics] == ["MIMO201"]
    assert [one.code for one in check(loaded.draft)] == ["MIMO504"]


def test_sizes_that_are_unknown_are_not_held_against_what_fills_the_rest() -> None:
    grid = "grid llm {\n  dense = tp:two * dp:2\n  expert = etp:1 * ep:2 * edp:_\n}\n"
    assert [one.code for one in parse(grid + SCHEDULE).diagnostics] == ["MIMO102"]


def test_a_view_may_have_a_name_like_ranks() -> None:
    spec = spec_of(f"{GRID[:-2]}  rank = tp\n}}\n{SCHEDULE}")
    assert [view.name for view in spec.grids[0].views] == ["dense", "rank"]
