"""Every citation of megatron-core and others leads to code of the installed package."""

from pathlib import Path

import pytest

from tests.citations import CORE, Cited, cited, cited_lines, file_of, lines_of, source


def _name(one: Cited) -> str:
    return f"{one.where} {one.file} {one.phrase}"


@pytest.mark.parametrize("file", sorted({one.file for one in cited()}))
def test_phrases_stand_in_the_files_that_are_cited(file: str) -> None:
    path = file_of(file)
    if path is None:
        pytest.skip(f"the package of {file} is not installed")
    for one in cited():
        if one.file == file:
            assert lines_of(path, one.phrase), _name(one)


@pytest.mark.parametrize("one", cited_lines(), ids=_name)
def test_line_numbers_lead_to_code(one: Cited) -> None:
    files = [CORE / one.file] if (CORE / one.file).is_file() else [*CORE.rglob(f"*/{one.file}")]
    first, _, last = one.phrase.partition("-")
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert int(last or first) <= len(lines)


def test_a_phrase_that_is_missing_or_ambiguous_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layer.py"
    path.write_text(
        "def first():\n    x = 1\n\ndef second():\n    x = 1\n    return (\n        x)\n"
    )
    assert lines_of(path, '"def second"') == range(4, 5)
    assert lines_of(path, '"def second … x = 1"') == range(5, 6)
    assert lines_of(path, '"return ( x)"') == range(6, 8)
    assert lines_of(path, '"def first" to "def second"') == range(1, 5)
    for phrase, problem in (
        ('"def third"', "no phrase 'def third'"),
        ('"x = 1"', "stands there twice"),
        ('"return … x = 1"', "no phrase 'x = 1' after 'return'"),
    ):
        with pytest.raises(ValueError, match=problem):
            lines_of(path, phrase)
    source.cache_clear()


def test_a_file_that_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no file transformer/nothing\.py"):
        file_of("transformer/nothing.py")
    assert file_of("mamba_ssm_not_here.py".replace("_not_here.py", "/ops.py")) is None
