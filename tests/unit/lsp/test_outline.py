"""The outline of a text, and that no request fails in a text that is being written."""

import pytest
from lsprotocol import types

from tests.e2e.lsp_client import position


def identifier(uri):
    return types.TextDocumentIdentifier(uri)


def symbols(editor, uri):
    params = types.DocumentSymbolParams(identifier(uri))
    return editor.ask(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL, params)


def test_declarations_and_their_fields_are_the_outline(editor, demo):
    found = symbols(editor, editor.open(demo))
    assert [one.name for one in found] == [
        *("presets/nemotron_small.mimo", "replicas", "encoder", "llm", "encoder | llm"),
        *("vision", "projector", "language", "vision -> projector -> language"),
        *("1f1b", "train"),
    ]
    grid = found[3]
    assert [(one.name, one.detail) for one in grid.children] == [
        ("dense", "tp:2  * cp:1 * dp:replicas  * pp:1"),
        ("expert", "etp:1 * ep:2 * edp:replicas * pp"),
    ]
    optimizer = found[-1].children[1]
    assert (optimizer.name, optimizer.detail) == ("optimizer", "adamw")
    assert [one.name for one in optimizer.children] == ["lr", "weight_decay", "clip"]
    for one in found:
        assert (one.range.start.line, 0) <= (one.selection_range.start.line, 0)
        assert one.selection_range.end.line <= one.range.end.line


def test_declarations_blocks_and_comments_fold(editor):
    text = "# one\n# two\n\nmodule it : gpt {\n  moe = {\n    experts = 2\n  }\n}\n\nlet a = 1\n"
    params = types.FoldingRangeParams(identifier(editor.open(text)))
    found = editor.ask(types.TEXT_DOCUMENT_FOLDING_RANGE, params)
    assert [(one.start_line, one.end_line, one.kind) for one in found] == [
        (3, 7, None),
        (4, 6, None),
        (0, 1, types.FoldingRangeKind.Comment),
    ]


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7, 0.95])
def test_every_request_is_answered_in_a_text_that_breaks_off(editor, demo, share):
    text = demo[: int(len(demo) * share)]
    uri = editor.open(text)
    for back in (0, 1, 7, 20):
        place = position(text, len(text) - back)
        where = {"text_document": identifier(uri), "position": place}
        asked = [
            (types.TEXT_DOCUMENT_COMPLETION, types.CompletionParams(**where)),
            (types.TEXT_DOCUMENT_HOVER, types.HoverParams(**where)),
            (types.TEXT_DOCUMENT_DEFINITION, types.DefinitionParams(**where)),
            (
                types.TEXT_DOCUMENT_REFERENCES,
                types.ReferenceParams(types.ReferenceContext(True), **where),
            ),
            (
                types.TEXT_DOCUMENT_CODE_ACTION,
                types.CodeActionParams(
                    identifier(uri), types.Range(place, place), types.CodeActionContext([])
                ),
            ),
        ]
        for method, params in asked:
            editor.ask(method, params)
    assert symbols(editor, uri)
