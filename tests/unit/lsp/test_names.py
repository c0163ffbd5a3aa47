"""From a name to its declaration, its uses and another name, in this file and in used ones."""

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from mimodsl.resources import presets_folder
from tests.unit.lsp.conftest import SPECS

DEMO = SPECS / "nemotron_vlm.mimo"


@pytest.fixture
def uri(editor, demo):
    return editor.open(demo, DEMO)


def where(editor, uri, marked, offset=0):
    return {
        "text_document": types.TextDocumentIdentifier(uri),
        "position": editor.at(uri, marked, offset),
    }


def definition(editor, uri, marked, offset=0):
    params = types.DefinitionParams(**where(editor, uri, marked, offset))
    return editor.ask(types.TEXT_DOCUMENT_DEFINITION, params)


def references(editor, uri, marked, offset=0, *, declaration=True):
    context = types.ReferenceContext(include_declaration=declaration)
    params = types.ReferenceParams(context, **where(editor, uri, marked, offset))
    return editor.ask(types.TEXT_DOCUMENT_REFERENCES, params)


def rename(editor, uri, marked, name, offset=0):
    params = types.RenameParams(new_name=name, **where(editor, uri, marked, offset))
    return editor.ask(types.TEXT_DOCUMENT_RENAME, params)


def at(location):
    return location.uri, location.range.start.line + 1, location.range.start.character


@pytest.mark.parametrize(
    ("marked", "offset", "place"),
    [
        ("place encoder", 6, (6, 5)),
        ("encoder | llm", 12, (10, 5)),
        ("grid = llm", 7, (10, 5)),
        ("flow vision", 5, (17, 7)),
        ("-> language", 3, (26, 7)),
        ("dp:replicas\n", 3, (4, 4)),
        ("edp:replicas", 12, (4, 4)),
        ("replicas * pp  #", 11, (11, 41)),
    ],
)
def test_a_name_leads_to_its_declaration(editor, uri, marked, offset, place):
    assert at(definition(editor, uri, marked, offset)) == (uri, *place)


def test_presets_and_paths_lead_into_shipped_files(editor, uri):
    shipped = (presets_folder() / "nemotron_small.mimo").resolve().as_uri()
    assert at(definition(editor, uri, "radio_small")) == (shipped, 4, 7)
    assert at(definition(editor, uri, '"presets/', 3)) == (shipped, 1, 0)
    assert definition(editor, uri, "fp32") is None
    assert definition(editor, uri, "1f1b") is None


def test_a_name_has_its_uses(editor, uri):
    found = [at(one) for one in references(editor, uri, "let replicas", 4)]
    assert [line for _, line, _ in found] == [4, 7, 11, 12]
    assert len(references(editor, uri, "let replicas", 4, declaration=False)) == 3
    assert references(editor, uri, "fp32") == ()


def test_words_of_a_field_are_no_constants(editor):
    text = "let none = 1\nlet fp32 = 2\n\ntrain {\n  precision = fp32\n  seed = fp32\n}\n"
    uri = editor.open(text)
    found = references(editor, uri, "let fp32", 4)
    assert [line for _, line, _ in map(at, found)] == [2, 6]


def test_a_name_lights_up_in_its_text(editor, uri):
    params = types.DocumentHighlightParams(**where(editor, uri, "grid llm", 5))
    found = editor.ask(types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT, params)
    kinds = types.DocumentHighlightKind
    assert [(one.range.start.line + 1, one.kind) for one in found] == [
        (10, kinds.Write),
        (15, kinds.Read),
        (27, kinds.Read),
    ]


@pytest.mark.parametrize("name", ["replicas", "encoder", "llm", "vision", "projector", "language"])
def test_a_renamed_spec_means_the_same(editor, demo, name):
    uri = editor.open(demo)
    marked = next(one for one in (f"let {name}", f"grid {name}", f"module {name}") if one in demo)
    edits = rename(editor, uri, marked, "other_1", len(marked)).changes
    assert set(edits) == {uri}
    changed = editor.applied(uri, edits[uri])
    assert len(edits[uri]) == changed.count("other_1") >= 2
    editor.change(uri, changed)
    assert not editor.diagnostics(uri)


@pytest.mark.parametrize(
    ("marked", "offset", "name", "why"),
    [
        ("grid llm", 5, "encoder", "there is a grid `encoder` already"),
        ("grid llm", 5, "9b", "`9b` is not a name: use only letters, digits and underscores"),
        ("let replicas", 4, "none", "`none` is a reserved word"),
        ("module vision", 7, "train", "an encoder cannot be called `train`"),
        (
            "radio_small",
            0,
            "radio",
            "`radio_small` belongs to a shipped preset, which cannot change",
        ),
        ("1f1b", 0, "other", "there is no name here that can change"),
    ],
)
def test_what_would_be_a_mistake_is_refused(editor, uri, marked, offset, name, why):
    with pytest.raises(JsonRpcException) as refused:
        rename(editor, uri, marked, name, offset)
    assert refused.value.message == why


def test_a_name_that_fields_take_for_a_word_is_refused(editor, demo):
    text = demo.replace("let replicas", "let how = 1\nlet replicas").replace("fp32", "how")
    uri = editor.open(text.replace("seed      = 1234", "seed      = how"))
    with pytest.raises(JsonRpcException, match=r"`bf16` is a choice of a field"):
        rename(editor, uri, "let how", "bf16", 4)


def test_a_name_is_offered_for_renaming_where_it_may_be(editor, uri):
    def prepare(marked, offset):
        params = types.PrepareRenameParams(**where(editor, uri, marked, offset))
        return editor.ask(types.TEXT_DOCUMENT_PREPARE_RENAME, params)

    found = prepare("flow vision", 6)
    assert (found.start.character, found.end.character) == (5, 11)
    with pytest.raises(JsonRpcException):
        prepare("flow vision", 1)


def test_a_name_is_renamed_in_every_open_spec_that_uses_it(editor, demo, tmp_path):
    library = tmp_path / "sizes.mimo"
    library.write_text("let replicas = 2\n")
    text = demo.replace("let replicas = 2", 'use "sizes.mimo"')
    specs = [tmp_path / "one.mimo", tmp_path / "two.mimo"]
    uris = [editor.open(text, path) for path in specs]
    found = rename(editor, uris[0], "edp:replicas", "copies", 6).changes
    assert set(found) == {library.as_uri(), *uris}
    assert {uri: len(edits) for uri, edits in found.items()} == {
        library.as_uri(): 1,
        uris[0]: 3,
        uris[1]: 3,
    }
    its = editor.open(library.read_text(), library)
    assert set(rename(editor, its, "replicas", "copies").changes) == {its, *uris}
