"""What every word is, for editors that colour by it: the same in whole, broken and odd texts."""

import pytest
from lsprotocol import types

from tests.unit.lsp.conftest import SPECS


def words(editor, uri):
    """Every word with its kind, in order."""
    legend = editor.started.capabilities.semantic_tokens_provider.legend.token_types
    params = types.SemanticTokensParams(types.TextDocumentIdentifier(uri))
    data = editor.ask(types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, params).data
    line = character = 0
    found = []
    for down, right, length, kind, _ in zip(*[iter(data)] * 5, strict=True):
        line, character = line + down, right + (0 if down else character)
        start = editor.offset(uri, types.Position(line, character))
        end = editor.offset(uri, types.Position(line, character + length))
        found.append((editor.text(uri)[start:end], legend[kind]))
    return found


def test_words_are_what_the_language_means_by_them(editor, demo):
    found = words(editor, editor.open(demo))
    assert {kind for word, kind in found if word == "grid"} == {"keyword", "property"}
    assert {kind for word, kind in found if word == "encoder"} == {"struct"}
    meant = dict(found)
    assert {
        word: meant[word] for word in ("replicas", "nemotron_small", "vision", "tp", "fp32")
    } == {
        "replicas": "variable",
        "nemotron_small": "type",
        "vision": "class",
        "tp": "typeParameter",
        "fp32": "enumMember",
    }
    assert (meant["511"], meant["mlp_projector"], meant["adamw"]) == ("number", "type", "type")
    assert meant["# tokens a sample"] == "comment"
    assert meant['"presets/nemotron_small.mimo"'] == "string"


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.mimo")), ids=lambda path: path.stem)
def test_every_word_of_a_shipped_spec_is_known(editor, path):
    uri = editor.open(path.read_text(), path)
    rest, between = editor.text(uri), ""
    for word, _ in words(editor, uri):
        before, rest = rest.split(word, 1)
        between += before
    assert not {*between, *rest} - {*" \n{}[](),=:*+-/|&>"}


def test_a_broken_declaration_keeps_its_keyword_and_its_comment(editor):
    uri = editor.open("grid a {\n  dense = tp: * # 🎉 so\n}\n\nlet b = 2 # é\n", "untitled:broken")
    assert words(editor, uri) == [
        ("grid", "keyword"),
        ("# 🎉 so", "comment"),
        ("let", "keyword"),
        ("b", "variable"),
        ("2", "number"),
        ("# é", "comment"),
    ]
