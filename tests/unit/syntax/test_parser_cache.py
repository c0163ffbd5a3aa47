"""The parser's tables outlive the process that made them, and are never stale or damaged."""

from pathlib import Path

import pytest
from lark import Lark

from mimodsl.syntax.grammar import LineBreaks
from mimodsl.syntax.parser_cache import cached_parser

GRAMMAR = 'start: "let" NAME\nNAME: /[a-z]+/\n_NL: /\\n/\n%ignore " "\n'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mimodsl"


def made(grammar: str, times: list[str]) -> str:
    """What the parser of a grammar reads; `times` hears of each time that it had to be made."""

    def make() -> Lark:
        times.append(grammar)
        return Lark(grammar, parser="lalr", postlex=LineBreaks())

    return str(cached_parser(grammar, make).parse("let x").children[0])


def test_tables_are_made_once(cache: Path) -> None:
    times: list[str] = []
    assert [made(GRAMMAR, times), made(GRAMMAR, times)] == ["x", "x"]
    assert len(times) == 1
    assert len(list(cache.iterdir())) == 1


def test_another_grammar_has_other_tables(cache: Path) -> None:
    times: list[str] = []
    made(GRAMMAR, times)
    made(GRAMMAR.replace("a-z", "x-z"), times)
    assert len(times) == 2


def test_damaged_tables_are_made_again(cache: Path) -> None:
    times: list[str] = []
    made(GRAMMAR, times)
    (file,) = cache.iterdir()
    for damaged in (b"", file.read_bytes()[:100], b"not a pickle", b"(lp0\n."):
        file.write_bytes(damaged)
        assert made(GRAMMAR, times) == "x"
    assert len(times) == 5
    made(GRAMMAR, times)
    assert len(times) == 5


def test_no_place_to_keep_them_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert made(GRAMMAR, []) == "x"
