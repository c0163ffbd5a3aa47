"""Mistakes are shown as they are typed: in unsaved texts and used files, where they are."""

import asyncio
from types import SimpleNamespace

import pytest
from lsprotocol import types
from pygls.workspace import Workspace

from mimodsl.lsp.server import DELAY, Session
from tests.e2e.lsp_client import position
from tests.unit.lsp.conftest import SPECS

BROKEN = """\
grid llm {
  dense  = tp:2 * dp 2
}

module language : gtp {
  hidden = 64, layers = 2, vocabulary = 512, attention = { heads = 4 }
}

schedule 1f1b {
  sequence = 0
  microbatch = 2
}
"""


def brief(diagnostics):
    return [(one.code, one.range.start.line + 1) for one in diagnostics]


def under(editor, uri, one):
    """The text that a diagnostic is under."""
    text = editor.text(uri)
    return text[editor.offset(uri, one.range.start) : editor.offset(uri, one.range.end)]


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.mimo")), ids=lambda path: path.stem)
def test_shipped_specs_have_no_mistakes(editor, path):
    assert list(editor.diagnostics(editor.open(path.read_text(), path))) == []


def test_every_mistake_of_a_broken_text_is_shown_at_once(editor):
    uri = editor.open(BROKEN)
    found = editor.diagnostics(uri)
    assert brief(found) == [("MIMO001", 2), ("MIMO103", 5), ("MIMO203", 10), ("MIMO201", 11)]
    assert [under(editor, uri, one) for one in found] == ["2", "gtp", "0", "microbatch"]
    assert "help: did you mean `gpt`?" in found[1].message
    assert {one.source for one in found} == {"mimodsl"}


def test_rules_speak_too_and_name_what_a_mistake_contradicts(editor, demo):
    uri = editor.open(demo.replace("ep:2 *", "ep:3 *"))
    [one] = editor.diagnostics(uri)
    assert (one.code, one.severity) == ("MIMO301", types.DiagnosticSeverity.Error)
    assert under(editor, uri, one) == "etp:1 * ep:3 * edp:replicas * pp"
    [other] = one.related_information
    assert other.location.uri == uri
    assert other.message == "tp·cp·dp = 4"


def test_a_change_is_checked_without_being_saved(editor, demo):
    uri = editor.open(demo)
    assert not editor.diagnostics(uri)
    editor.change(uri, demo.replace("token = 511", "token = 512"))
    assert [one.code for one in editor.diagnostics(uri)] != []
    editor.change(uri, demo)
    assert not editor.diagnostics(uri)


def test_of_many_changes_the_last_is_what_counts(editor, demo):
    uri = editor.open(demo)
    for length in range(400, 900, 20):
        editor.change(uri, demo[:length])
    editor.change(uri, demo)
    assert not editor.diagnostics(uri)
    versions = [one.version for one in editor.publications(uri) if one.version]
    assert versions == sorted(versions)


def test_changes_wait_for_each_other_and_are_checked_once():
    class Counted(Session):
        checks = 0

        def publish(self):
            self.checks += 1
            self.done.set()

    async def type_quickly():
        session = Counted(SimpleNamespace(workspace=Workspace(None)))
        session.done = asyncio.Event()
        for _ in range(20):
            session.changed(None, DELAY)
        await session.done.wait()
        return session.checks

    assert asyncio.run(type_quickly()) == 1


def test_a_used_file_counts_as_it_is_in_its_tab(editor, demo, tmp_path):
    library, spec = tmp_path / "sizes.mimo", tmp_path / "spec.mimo"
    library.write_text("let replicas = 2\n")
    text = demo.replace("let replicas = 2", 'use "sizes.mimo"')
    spec.write_text(text)
    its, uri = editor.open(library.read_text(), library), editor.open(text, spec)
    assert not editor.diagnostics(uri)
    before = len(editor.publications(uri))
    editor.change(its, "let copies = 2\n")
    assert not editor.diagnostics(its)
    found = editor.diagnostics(uri, after=before)
    assert {one.code for one in found} == {"MIMO102"}
    assert library.read_text() == "let replicas = 2\n"
    editor.close(uri)
    editor.close(its)


def test_paths_may_have_blanks_and_accents(editor, demo, tmp_path):
    """Which clients escape in URIs, each in its own way."""
    folder = tmp_path / "mes spécs"
    folder.mkdir()
    (folder / "si zes.mimo").write_text("let replicas = 0\n")
    escaped = (folder / "si zes.mimo").as_uri()
    its = editor.open("let replicas = 2\n", escaped.replace("%C3%A9", "é").replace("%20", " "))
    text = demo.replace("let replicas = 2", 'use "si zes.mimo"')
    uri = editor.open(text, folder / "spec.mimo")
    assert not editor.diagnostics(its)
    assert not editor.diagnostics(uri)
    place = editor.at(uri, "edp:replicas", len("edp:"))
    params = types.DefinitionParams(types.TextDocumentIdentifier(uri), place)
    assert editor.ask(types.TEXT_DOCUMENT_DEFINITION, params).uri == its
    editor.close(its)
    editor.close(uri)


def test_a_mistake_in_a_used_file_is_shown_where_it_is_used(editor, demo, tmp_path):
    library = tmp_path / "sizes.mimo"
    library.write_text("let replicas = 2\nlet broken = 3 // 0\n")
    uri = editor.open(demo.replace("let replicas = 2", 'use "sizes.mimo"'), tmp_path / "spec.mimo")
    [one] = editor.diagnostics(uri)
    assert (one.code, under(editor, uri, one)) == ("MIMO207", '"sizes.mimo"')
    [place] = one.related_information
    assert (place.location.uri, place.location.range.start.line) == (library.as_uri(), 1)
    before = len(editor.publications(uri))
    library.write_text("let replicas = 2\n")
    editor.saved_elsewhere(library)
    assert not editor.diagnostics(uri, after=before)


@pytest.mark.parametrize("line_break", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_characters_are_counted_as_editors_do(editor, demo, line_break):
    text = demo.replace("frozen", "").replace("\n", line_break)
    text = text.replace("token = 511", 'tokne = 511, images = "🎉𝕏é" # 🎉')
    text = text.replace("# Nem", "# 🎉 Nem")
    uri = editor.open(text, "untitled:unicode")
    found = editor.diagnostics(uri)
    assert [under(editor, uri, one) for one in found] == ["tokne", '"🎉𝕏é"']
    after = text.index('"🎉𝕏é"') + len('"🎉𝕏é"')
    assert found[1].range.end == position(text, after)
    assert found[1].range.end.character - found[1].range.start.character == 7


def test_the_encoding_is_the_clients_choice(plain_editor, demo):
    assert plain_editor.started.capabilities.position_encoding == "utf-8"
    text = demo.replace("token = 511", 'images = "🎉é", token = -1')
    [images, token] = plain_editor.diagnostics(plain_editor.open(text))
    assert images.range.end.character - images.range.start.character == 8
    assert token.range.start.character == images.range.end.character + len(", token = ")


def test_a_byte_order_mark_moves_nothing(editor):
    uri = editor.open("\ufefflet a = b\n", "untitled:marked")
    codes = {one.code: one for one in editor.diagnostics(uri)}
    assert under(editor, uri, codes["MIMO102"]) == "b"


def test_a_file_that_only_lends_declarations_is_no_whole_spec(editor, tmp_path):
    uri = editor.open("let replicas = 2\n", tmp_path / "library.mimo")
    assert not editor.diagnostics(uri)


def test_nothing_is_said_of_a_closed_text(editor):
    uri = editor.open(BROKEN, "untitled:closed")
    assert editor.diagnostics(uri)
    before = len(editor.publications(uri))
    editor.close(uri)
    assert not editor.published(uri, before)


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "{" * 500, "let a = b\n" * 300, "#" * 70_000, "\ud800", "let a = 1\r" * 3],
    ids=["empty", "zero", "deep", "wrong", "large", "surrogate", "returns"],
)
def test_no_text_stops_the_server(editor, demo, text):
    uri = editor.open(text, "untitled:hostile")
    editor.diagnostics(uri)
    editor.change(uri, demo)
    assert not editor.diagnostics(uri)
