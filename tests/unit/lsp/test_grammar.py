"""The TextMate grammar: its words are the language's, and a tokenizer reads specs by it."""

import json
import re
from pathlib import Path

import pytest
from textmate_grammar.parsers.base import LanguageParser

from mimodsl.ir import KINDS
from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES
from mimodsl.lower.evaluate import LITERAL_WORDS
from mimodsl.resources import grammar_file
from mimodsl.syntax.scan import KEYWORDS
from tests.unit.lsp.conftest import SPECS

ROOT = Path(__file__).parents[3]
GRAMMAR = json.loads((ROOT / "grammars" / "mimo.tmLanguage.json").read_text())


@pytest.fixture(scope="module")
def tokens():
    parser = LanguageParser(GRAMMAR)

    def read(text):
        found = parser.parse_string(f"{text}\n").flatten()
        return [(piece.strip(), scopes[-1]) for _, piece, scopes in found if piece.strip()]

    return read


def scope(tokens, text, word):
    """The scope of a word that a text has once."""
    [found] = [scope.removesuffix(".mimo") for piece, scope in tokens(text) if piece == word]
    return found


def test_its_keywords_are_those_of_the_language(tokens):
    lark = re.findall(r"^[A-Z]+\.2: /([a-z]+)\\b/", grammar_file().read_text(), re.MULTILINE)
    assert {*lark} - {"ranks"} == set(KEYWORDS)
    for word in KEYWORDS:
        assert scope(tokens, f"{word} it", word) == "keyword.declaration"
        assert scope(tokens, f"  {word} = it", word) == "variable.other.property"
    assert scope(tokens, "gird it", "gird") != "keyword.declaration"


def test_its_kinds_axes_and_literals_are_those_of_the_language(tokens):
    for kind in KINDS:
        assert scope(tokens, f"module it : {kind} {{", kind) == "support.type.kind"
    assert scope(tokens, "preset it : gpt_small {", "gpt_small") == "entity.other.inherited-class"
    for axis in (*BASE_AXES, *EXPERT_AXES):
        assert scope(tokens, f"  view = {axis}", axis) == "support.type.axis"
    for word in LITERAL_WORDS:
        assert scope(tokens, f"  field = {word}", word) == "constant.language"


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.mimo")), ids=lambda path: path.stem)
def test_every_word_of_a_shipped_spec_has_a_scope(tokens, path):
    plain = {piece for piece, scope in tokens(path.read_text()) if scope == "source.mimo"}
    assert not re.search(r"[^\s{}\[\](),]", "".join(plain))


def test_words_have_the_scope_that_they_mean(tokens, demo):
    found = tokens(demo)

    def scopes(word):
        return {scope.removesuffix(".mimo") for piece, scope in found if piece == word}

    assert scopes("module") == {"keyword.declaration"}
    assert scopes("grid") == {"keyword.declaration", "variable.other.property"}
    assert scopes("mlp_projector") == {"support.type.kind"}
    assert scopes("radio_small") == {"entity.other.inherited-class"}
    assert scopes("etp") == {"support.type.axis"}
    assert scopes("3e-3") == {"constant.numeric.float"}
    assert scopes("adamw") == {"entity.name.tag"}
    assert scopes("1f1b") == {"constant.language"}
    assert scopes("# side by side: disjoint rank spans, left to right") == {
        "comment.line.number-sign"
    }


def test_the_extension_names_files_that_are_there_and_exact_versions():
    folder = ROOT / "grammars" / "vscode"
    package = json.loads((folder / "package.json").read_text())
    contributed = package["contributes"]
    [language] = contributed["languages"]
    [grammar] = contributed["grammars"]
    assert language["extensions"] == [".mimo"]
    assert (folder / language["configuration"]).exists()
    assert grammar["scopeName"] == GRAMMAR["scopeName"]
    assert contributed["configuration"]["properties"]["mimodsl.command"]["default"] == [
        "mimodsl",
        "lsp",
    ]
    versions = {**package["dependencies"], **package["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
