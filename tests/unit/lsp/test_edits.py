"""What the server changes: formatting, and quick fixes that end their mistakes."""

import pytest
from lsprotocol import types

from tests.unit.lsp.conftest import SPECS


def formatted(editor, uri):
    params = types.DocumentFormattingParams(
        types.TextDocumentIdentifier(uri), types.FormattingOptions(2, insert_spaces=True)
    )
    return editor.ask(types.TEXT_DOCUMENT_FORMATTING, params)


def actions(editor, uri, marked, offset=0, only=None):
    place = editor.at(uri, marked, offset)
    params = types.CodeActionParams(
        types.TextDocumentIdentifier(uri),
        types.Range(place, place),
        types.CodeActionContext([], only),
    )
    found = editor.ask(types.TEXT_DOCUMENT_CODE_ACTION, params)
    return {one.title: one for one in found}


def after(editor, uri, action):
    """The text after an action, and the codes of its mistakes."""
    text = editor.applied(uri, action.edit.changes[uri])
    editor.change(uri, text)
    return text, [one.code for one in editor.diagnostics(uri)]


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.mimo")), ids=lambda path: path.stem)
def test_shipped_specs_are_formatted(editor, path):
    assert list(formatted(editor, editor.open(path.read_text(), path))) == []


@pytest.mark.parametrize("line_break", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_text_is_put_into_the_one_style_line_by_line(editor, demo, line_break):
    ugly = demo.replace("  grid       = encoder\n", "      grid=encoder # é\n\n\n")
    uri = editor.open(ugly.replace("\n", line_break))
    edits = formatted(editor, uri)
    assert sum(one.range.end.line - one.range.start.line for one in edits) < 5
    text = editor.applied(uri, edits)
    assert "  grid       = encoder  # é" in text
    assert text.count("\r") == (text.count("\n") if line_break == "\r\n" else 0)
    editor.change(uri, text)
    assert list(formatted(editor, uri)) == []


def test_broken_text_is_left_alone(editor, demo):
    assert formatted(editor, editor.open(demo.replace("{", "", 1))) is None


@pytest.mark.parametrize(
    ("right", "wrong", "title"),
    [
        ("activation", "activaton", "Change `activaton` to `activation`"),
        ("mlp_projector", "mlp_proyector", "Change `mlp_proyector` to `mlp_projector`"),
        ("tp:2 * dp:replicas\n", "tp:2 × dp:replicas\n", "Change `×` to `*`"),
        ("sequence     = 64", 'sequence     = "64"', 'Change `"64"` to `64`'),
        ("seed      =", "seed      :", "Change `:` to `=`"),
    ],
)
def test_what_can_be_meant_in_one_way_only_is_offered_and_preferred(
    editor, demo, right, wrong, title
):
    uri = editor.open(demo.replace(right, wrong, 1))
    [first, *_] = editor.diagnostics(uri)
    place = editor.text(uri)[editor.offset(uri, first.range.start) :][:30]
    found = actions(editor, uri, place)
    assert found[title].is_preferred
    assert [one.code for one in found[title].diagnostics] == [first.code]
    _, mistakes = after(editor, uri, found[title])
    assert first.code not in mistakes


def test_a_shipped_preset_is_brought_in(editor, demo):
    uri = editor.open(demo.replace('use "presets/nemotron_small.mimo"\n', ""))
    action = actions(editor, uri, ": nemotron_small", 3)['Add `use "presets/nemotron_small.mimo"`']
    assert after(editor, uri, action)[1] == []


def test_a_name_that_may_be_meant_is_tried(editor, demo):
    uri = editor.open(demo.replace("flow vision", "flow vis"))
    found = actions(editor, uri, "flow vis", len("flow "))
    assert set(found) == {"Write `vision`"}
    assert after(editor, uri, *found.values())[1] == []


def test_help_that_names_a_change_is_tried_and_offered(editor, demo):
    uri = editor.open(demo.replace("ep:2 * edp:replicas", "ep:3 * edp:2"))
    found = actions(editor, uri, "ep:3", only=[types.CodeActionKind.QuickFix])
    assert set(found) == {"Write `ep:2`", "Write `edp:1` and `ep:4`"}
    for action in found.values():
        assert not action.is_preferred
        again = editor.open(demo.replace("ep:2 * edp:replicas", "ep:3 * edp:2"))
        assert after(editor, again, action)[1] == []


def test_all_that_is_certain_is_fixed_at_once(editor, demo):
    broken = demo.replace("activation", "activaton").replace("microbatches", "microbatchs")
    uri = editor.open(broken)
    found = actions(editor, uri, "schedule", only=[types.CodeActionKind.SourceFixAll])
    assert [one.kind for one in found.values()] == [types.CodeActionKind.SourceFixAll]
    text, mistakes = after(editor, uri, *found.values())
    assert mistakes == []
    assert text == broken.replace("activaton", "activation").replace("microbatchs", "microbatches")


def test_where_nothing_is_wrong_nothing_is_offered(editor, demo):
    assert actions(editor, editor.open(demo), "microbatches") == {}
