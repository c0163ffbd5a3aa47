"""What the cursor is told: of fields, kinds, choices, constants, grids and mistakes."""

import re

import pytest
from lsprotocol import types

from mimodsl.show.pages import pages
from tests.unit.lsp.conftest import SPECS


def hover(editor, uri, marked, offset=0):
    params = types.HoverParams(types.TextDocumentIdentifier(uri), editor.at(uri, marked, offset))
    found = editor.ask(types.TEXT_DOCUMENT_HOVER, params)
    return found.contents.value if found else None


@pytest.fixture
def uri(editor, demo):
    return editor.open(demo)


def test_a_field_says_its_meaning_type_unit_and_default(editor, uri):
    assert hover(editor, uri, "micro_batch") == (
        "**`micro_batch`** — samples a microbatch, for each data-parallel rank of the language "
        "model\n\nan integer, at least 1 (samples) · default 1\n\na field of `schedule`"
    )
    assert "a number, above 0 · required" in hover(editor, uri, "lr =")
    assert "a field of `mlp_projector`" in hover(editor, uri, "activation")
    assert "the name of a grid · required" in hover(editor, uri, "grid = llm")


def test_kinds_blocks_and_choices_say_what_they_are(editor, uri):
    assert "A norm and a two-layer MLP." in hover(editor, uri, "mlp_projector")
    assert "Adam with decoupled weight decay." in hover(editor, uri, "adamw")
    assert "one of `fp32`, `bf16`, `fp16`" in hover(editor, uri, "= fp32", 2)
    assert "`no_pipelining`" in hover(editor, uri, "1f1b")
    assert "From an encoder" in hover(editor, uri, "flow")


def test_a_preset_shows_its_fields(editor, uri):
    said = hover(editor, uri, "radio_small")
    assert "preset (encoder)" in said
    assert "max_image = 128x128" in said


def test_a_constant_shows_its_value(editor):
    uri = editor.open("let a = 3\nlet b = 2 * (a + 1)\nlet c = [b, a]\n")
    assert hover(editor, uri, "let a", 4) == "```mimo\nlet a = 3\n```"
    assert hover(editor, uri, "let b", 4).endswith("= `8`")
    assert hover(editor, uri, "[b", 1).endswith("= `8`")
    assert hover(editor, uri, "let c", 4).endswith("= `[8, 3]`")


@pytest.mark.parametrize(
    ("marked", "offset"), [("grid llm", 5), ("| llm", 2), ("= llm", 2), ("ep:2", 0), ("expert", 0)]
)
def test_a_grid_shows_its_views_and_every_rank(editor, uri, marked, offset):
    said = hover(editor, uri, marked, offset)
    assert "ranks 4–7 · `language`" in said
    assert "expert  etp:1 * ep:2 * edp:2 * pp   = 4" in said
    assert "rank  ╞══4══╪══5══╪══6══╪══7══╡" in said
    table = [line.split() for line in re.findall(r"^ *\d(?: +\d)+$", said, re.MULTILINE)]
    assert table == [
        ["4", "0", "0", "0", "0"],
        ["5", "1", "0", "1", "0"],
        ["6", "0", "1", "0", "1"],
        ["7", "1", "1", "1", "1"],
    ]


def test_a_large_grid_is_shown_in_part(editor, demo):
    uri = editor.open(demo.replace("let replicas = 2", "let replicas = 100_000"))
    said = hover(editor, uri, "grid llm", 5)
    assert "= 200,000" in said
    assert "… 399999" in said
    assert len(said) < 2000


def test_a_grid_whose_views_disagree_shows_what_each_covers(editor, demo):
    uri = editor.open(demo.replace("ep:2 *", "ep:3 *"))
    said = hover(editor, uri, "grid llm", 5)
    assert "= 4" in said
    assert "= 6" in said
    assert "╞" not in said


def test_a_mistake_is_explained_by_its_rule(editor, demo):
    uri = editor.open(demo.replace("ep:2 *", "ep:3 *"))
    page = pages()["MIMO301"]
    said = hover(editor, uri, "ep:3")
    assert f"**MIMO301** — {page.title}" in said
    assert page.why in said
    assert page.seen in said
    assert "MIMO301" not in hover(editor, uri, "grid llm", 5)


def test_where_nothing_stands_nothing_is_said(editor, uri):
    assert hover(editor, uri, "\n\nplace", 1) is None
    assert hover(editor, uri, "# side by side", 4) is None


def test_every_name_and_field_of_the_shipped_specs_says_something(editor):
    for path in sorted(SPECS.glob("*.mimo")):
        text = path.read_text()
        uri = editor.open(text, path)
        for match in re.finditer(r"^  (\w+) += ", text, re.MULTILINE):
            place = text[match.start() : match.end()]
            if text.count(place) == 1 and match[1] != "ranks":
                assert hover(editor, uri, place, 3), (path.name, place)
