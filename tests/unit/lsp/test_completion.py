"""What is offered at the cursor, from the language's own classes, in whole and in broken texts."""

import asyncio

import pytest
from lsprotocol import types

from mimodsl import ir
from mimodsl.checker.file_check import check_file
from mimodsl.ir.schema import schema
from mimodsl.lsp.sizes import legal_sizes
from mimodsl.source import SourceFile, Span
from mimodsl.syntax.scan import KEYWORDS
from tests.unit.lsp.conftest import SPECS

GRID = """\
grid llm {{
  dense  = tp:2 * dp:4
  expert = {expert}
}}

module language : gpt {{
  layers     = 2
  hidden     = 64
  vocabulary = 512
  attention  = {{ heads = 4 }}
  moe        = {{ experts = 8, topk = 2, ffn = 64 }}
}}

schedule no_pipelining {{
  sequence = 64
}}
"""


def names(cls):
    return {field.name for field in schema(cls)}


def test_a_line_begins_with_a_keyword(editor):
    assert list(editor.complete("let a = 1\n\n‸")) == list(KEYWORDS)


@pytest.mark.parametrize("kind", ir.KINDS.values(), ids=lambda kind: kind.keyword)
def test_a_block_takes_the_fields_of_its_kind(editor, kind):
    found = editor.complete(f"module it : {kind.keyword} {{\n  ‸\n}}\n")
    assert set(found) == names(kind) | {"grid", "frozen"}
    for field in schema(kind):
        assert field.doc in found[field.name].documentation.value
        assert field.words.replace("`", "") in found[field.name].detail
        assert ("required" in found[field.name].detail) == field.required


def test_required_fields_come_first_and_set_ones_not_at_all(editor):
    found = list(editor.complete("module it : gpt {\n  hidden = 64\n  ‸\n  layers = 2\n}\n"))
    assert found[:2] == ["vocabulary", "attention"]
    assert not {"hidden", "layers"} & set(found)


def test_a_line_of_a_block_may_begin_at_the_margin(editor):
    found = editor.complete("train {\n  seed = 64\n‸\n}\n")
    assert set(found) == names(ir.Train) - {"seed"}
    edit = found["precision"].text_edit
    assert edit.range.start == edit.range.end == types.Position(line=2, character=0)


def test_a_field_is_written_with_its_sign(editor):
    assert editor.complete("train {\n  se‸\n}")["seed"].text_edit.new_text == "seed = "
    assert editor.complete("train {\n  se‸ed = 1\n}")["seed"].text_edit.new_text == "seed"


@pytest.mark.parametrize(
    ("text", "cls"),
    [
        ("module it : hybrid {\n  moe = { ‸", ir.Moe),
        ("module it : hybrid {\n  layers = \n  moe = {\n    ‸\n  }\n}", ir.Moe),
        ("preset small : gpt {\n  attention = {‸}\n}", ir.Attention),
        ("train {\n  optimizer = adamw { ‸ }\n}", ir.AdamW),
        ("train {\n  ddp = {\n    ‸", ir.Ddp),
    ],
)
def test_blocks_in_blocks_take_fields_of_their_own_class(editor, text, cls):
    assert set(editor.complete(text)) == names(cls)


def test_schedules_and_flows_take_what_stands_in_their_blocks(editor):
    assert set(editor.complete("schedule 1f1b {\n ‸\n}")) == names(ir.Schedule) - {"kind"}
    assert set(editor.complete("flow a -> b {\n ‸\n}")) == names(ir.Flow) - {"path"}
    assert set(editor.complete("schedule ‸")) == set(map(str, ir.ScheduleKind))


def test_a_module_through_presets_has_the_fields_of_their_kind(editor):
    text = 'use "presets/nemotron_small.mimo"\n\nmodule it : {} {{\n  ‸\n}}\n'
    for preset, kind in {"radio_small": ir.Radio, "nemotron_small": ir.Hybrid}.items():
        assert set(editor.complete(text.format(preset))) == names(kind) | {"grid", "frozen"}


def test_behind_a_colon_stand_kinds_and_the_presets_in_reach(editor):
    shipped = editor.complete('use "presets/nemotron.mimo"\n\nmodule it : ‸')
    assert set(shipped) == {*ir.KINDS, "radio_h", "nemotron_3_nano"}
    assert shipped["radio_h"].detail == "preset of radio"
    assert set(editor.complete("preset tiny : gpt {\n}\n\npreset it : t‸")) == {*ir.KINDS, "tiny"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train {\n  precision = ‸\n}", ir.Precision),
        ("module it : gpt {\n  moe = { score = s‸ }\n}", ir.Score),
        ("module it : gpt {\n  norm = ‸, bias = true\n}", ir.Norm),
    ],
)
def test_a_choice_offers_its_words(editor, text, words):
    assert set(editor.complete(text)) == set(map(str, words))


def test_other_values_are_offered_by_their_type(editor):
    text = "let copies = 2\n\ngrid one {\n}\n\nmodule it : hybrid {\n  %s = ‸\n}\n"
    assert set(editor.complete(text % "grid")) == {"one"}
    assert set(editor.complete(text % "hidden")) == {"copies"}
    assert set(editor.complete(text % "bias")) == {"true", "false", "copies"}
    assert set(editor.complete(text % "moe")) == {"none", "{ … }"}
    assert set(editor.complete("train {\n  optimizer = ‸\n}")) == {"adamw { … }"}


def test_names_are_offered_where_they_are_used(editor, demo):
    assert set(editor.complete(demo.replace("encoder | llm", "‸ | llm"))) == {"encoder", "llm"}
    assert set(editor.complete(demo.replace("encoder | llm", "encoder | ‸"))) == {"encoder", "llm"}
    modules = {"vision", "projector", "language"}
    assert set(editor.complete(demo.replace("-> projector ->", "-> ‸ ->"))) == modules
    assert set(editor.complete(demo.replace("dp:replicas\n", "dp:re‸\n"))) >= {"replicas"}
    assert set(editor.complete("let a = 1\nlet b = 2\nlet c = a + ‸")) == {"a", "b"}
    assert set(editor.complete("let a = 1\nlet b = 2‸")) == {"a"}


def test_used_files_are_offered(editor, tmp_path):
    (tmp_path / "sizes.mimo").write_text("let a = 1\n")
    found = editor.complete('use "pre‸"\n', tmp_path / "spec.mimo")
    assert set(found) == {
        '"presets/nemotron.mimo"',
        '"presets/nemotron_small.mimo"',
        '"sizes.mimo"',
    }
    assert found['"sizes.mimo"'].text_edit.range.start.character == 4
    assert set(editor.complete('use "‸', "untitled:use")) == set(found) - {'"sizes.mimo"'}


def test_a_grid_offers_its_views_and_axes(editor):
    assert set(editor.complete("grid a {\n  ‸\n}")) == {"ranks", "dense", "expert"}
    assert set(editor.complete("grid a {\n  dense = tp:2 * ‸\n}")) == {"cp", "dp", "pp"}
    view = editor.complete("grid a {\n  dense = tp:2\n  expert = etp:1 * ‸\n}")
    assert set(view) == {"ep", "edp", "pp"}
    assert view["pp"].text_edit.new_text == "pp"


def sizes(found):
    """What is offered as legal, and with which change of another axis."""
    return {
        label: item.additional_text_edits[0].new_text if item.additional_text_edits else ""
        for label, item in found.items()
        if label.isdigit()
    }


def test_a_size_is_offered_where_both_views_then_cover_the_same_ranks(editor):
    assert sizes(editor.complete(GRID.format(expert="etp:1 * ep:‸ * pp"))) == {
        "8": "",
        "1": "8",
        "2": "4",
        "4": "2",
    }
    assert sizes(editor.complete(GRID.format(expert="etp:1 * ep:2 * edp:‸ * pp"))) == {
        "4": "",
        "8": "1",
        "2": "2",
        "1": "4",
    }


def test_a_size_with_another_axis_changed_makes_a_spec_without_mistakes(editor):
    text = GRID.format(expert="etp:1 * ep:‸ * edp:4 * pp")
    for item in editor.complete(text).values():
        edits = [item.text_edit, *(item.additional_text_edits or [])]
        uri = editor.open(text.replace("‸", ""))
        editor.change(uri, editor.applied(uri, edits))
        assert not editor.diagnostics(uri), item.label


def test_a_size_divides_heads_and_experts_as_the_rules_have_it(editor):
    """Of four heads, and so no more ranks of tensor parallelism; nothing is said of these here."""
    alone = GRID.format(expert="etp:1 * ep:8 * pp").replace("  expert = etp:1 * ep:8 * pp\n", "")
    found = sizes(editor.complete(alone.replace("tp:2 *", "tp:‸ *")))
    assert set(found) == {"1", "2", "4"}


def test_mistakes_elsewhere_do_not_matter_to_a_size(editor):
    text = GRID.format(expert="etp:1 * ep:‸ * edp:4 * pp").replace("sequence = 64", "sequnce = 64")
    assert "2" in sizes(editor.complete(text))


def test_sizes_that_another_view_rules_out_are_not_tried():
    path = SPECS / "nemotron_3_nano_vlm.mimo"
    source = SourceFile(str(path), path.read_text())
    start = source.text.index(" ep:8") + len(" ep:")
    tried = []

    def check(text):
        tried.append(text)
        return check_file(path, text, {})

    found = asyncio.run(legal_sizes(source, Span(source, start, start + 1), check))
    assert [one.size for one in found] == [1, 2, 4, 8]
    assert len(tried) == 10  # the divisors of the 48 ranks of the dense view


def test_a_search_for_sizes_can_be_called_off():
    source = SourceFile("spec.mimo", GRID.format(expert="etp:1 * ep: * pp"))
    start = source.text.index(" * pp\n")
    tried = []

    async def search():
        def check(text):
            tried.append(text)
            if len(tried) == 2:
                searching.cancel()
            return check_file(None, text, {})

        searching = asyncio.ensure_future(legal_sizes(source, Span(source, start, start), check))
        await searching

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(search())
    assert len(tried) == 2


def test_nothing_is_offered_in_comments_and_at_new_names(editor):
    assert editor.complete("grid a {\n  # tp‸\n}") == {}
    assert editor.complete("module ‸") == {}


def test_templates_are_for_clients_that_fill_them_in(editor, plain_editor):
    text = "train {\n  optimizer = ‸\n}"
    item = editor.complete(text)["adamw { … }"]
    assert (item.insert_text_format, item.text_edit.new_text) == (
        types.InsertTextFormat.Snippet,
        "adamw { $0 }",
    )
    item = plain_editor.complete(text)["adamw { … }"]
    assert (item.insert_text_format, item.text_edit.new_text) == (None, "adamw { }")
