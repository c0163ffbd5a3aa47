"""`mimodsl fmt` writes the one style, whole files or nothing."""

import os

import pytest

UGLY = """grid g { dense=tp:2 }   # wide
module m : gpt { grid = g, layers = 2, hidden = 64, heads = 4, vocabulary = 512 }
schedule no_pipelining { sequence = 64 }
"""


@pytest.fixture
def ugly(tmp_path):
    path = tmp_path / "ugly.mimo"
    path.write_text(UGLY)
    return path


def test_a_file_is_formatted_in_place_and_then_stays(mimodsl, ugly):
    ran = mimodsl("fmt", ugly)
    assert (ran.code, ran.out) == (0, f"{ugly} formatted\n")
    formatted = ugly.read_text()
    assert "  dense = tp:2\n" in formatted
    assert "# wide" in formatted
    assert (mimodsl("fmt", ugly).out, ugly.read_text()) == ("", formatted)


def test_standard_input_goes_to_standard_output(mimodsl, ugly):
    def piped(*arguments, text=UGLY):
        return mimodsl("fmt", *arguments, "-", given=text.encode())

    formatted = piped()
    assert mimodsl("fmt", ugly).code == 0
    assert (formatted.code, formatted.out) == (0, ugly.read_text())
    assert (piped("--check").code, piped("--check").out) == (1, "<stdin> would change\n")
    assert piped("--check", text=formatted.out).code == 0
    assert "+  dense = tp:2\n" in piped("--diff").out
    assert (piped(text="grid {").code, piped(text="grid {").out) == (1, "")


def test_json_has_no_style(mimodsl, tmp_path):
    path = tmp_path / "spec.json"
    path.write_text("{}")
    ran = mimodsl("fmt", path)
    assert (ran.code, ran.err) == (2, f"error: {path} is JSON, and fmt is for .mimo files\n")


def test_check_writes_nothing(mimodsl, ugly):
    ran = mimodsl("fmt", "--check", ugly)
    assert (ran.code, ran.out) == (1, f"{ugly} would change\n")
    assert ugly.read_text() == UGLY
    mimodsl("fmt", ugly)
    assert mimodsl("fmt", "--check", ugly).code == 0


def test_diff_writes_nothing_and_shows_the_change(mimodsl, ugly):
    ran = mimodsl("fmt", "--diff", ugly)
    assert ran.code == 1
    assert "-grid g { dense=tp:2 }   # wide\n" in ran.out
    assert "+  dense = tp:2\n" in ran.out
    assert ugly.read_text() == UGLY


def test_a_file_that_does_not_parse_is_left_alone(mimodsl, tmp_path, ugly):
    broken = tmp_path / "broken.mimo"
    broken.write_text("grid { \n")
    ran = mimodsl("fmt", broken, ugly)
    assert ran.code == 1
    assert "error[MIMO0" in ran.err
    assert broken.read_text() == "grid { \n"
    assert ugly.read_text() != UGLY


def test_mode_and_links_stay(mimodsl, tmp_path, ugly):
    ugly.chmod(0o640)
    link = tmp_path / "link.mimo"
    link.symlink_to(ugly)
    assert mimodsl("fmt", link).code == 0
    assert link.is_symlink()
    assert ugly.read_text() != UGLY
    assert ugly.stat().st_mode & 0o777 == 0o640


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(mimodsl, ugly, monkeypatch):
    def full(_descriptor):
        raise OSError(28, os.strerror(28), str(ugly))

    monkeypatch.setattr("os.fsync", full)
    ran = mimodsl("fmt", ugly)
    assert (ran.code, ran.err) == (2, f"error: {ugly}: No space left on device\n")
    assert ugly.read_text() == UGLY
    assert list(ugly.parent.iterdir()) == [ugly]


def test_text_that_is_not_utf_8(mimodsl, tmp_path):
    path = tmp_path / "latin.mimo"
    path.write_bytes(b"# caf\xe9\n")
    ran = mimodsl("fmt", path)
    assert ran.code == 1
    assert "error[MIMO009]: the byte 0xe9 is not UTF-8 text" in ran.err
    assert path.read_bytes() == b"# caf\xe9\n"


def test_a_folder_is_all_of_its_specs(mimodsl, tmp_path):
    (tmp_path / "sub").mkdir()
    ugly = [tmp_path / "a.mimo", tmp_path / "sub" / "b.mimo"]
    for path in ugly:
        path.write_text(UGLY)
    (tmp_path / "notes.txt").write_text("grid {")
    ran = mimodsl("fmt", tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "".join(f"{path} formatted\n" for path in ugly)
