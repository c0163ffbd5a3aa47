"""`mimodsl new` starts a spec: whole, sound, and never over another file."""

import errno
import os

import pytest

from tests.unit.cli.conftest import SPECS

TEMPLATES = sorted(path.stem for path in SPECS.glob("*.mimo"))


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_makes_a_sound_spec_anywhere(mimodsl, tmp_path, template):
    path = tmp_path / "mine.mimo"
    ran = mimodsl("new", path, "--template", template)
    assert ran.code == 0
    assert f"mimodsl check {path}" in ran.out
    assert mimodsl("check", path).code == 0
    assert path.read_text() == (SPECS / f"{template}.mimo").read_text()


def test_the_demo_is_the_default_and_may_go_to_standard_output(mimodsl, demo):
    assert mimodsl("new", "-").out == demo.read_text()


def test_a_new_file_has_the_mode_of_new_files(mimodsl, tmp_path):
    path = tmp_path / "mine.mimo"
    before = os.umask(0o027)
    try:
        mimodsl("new", path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_there_stays(mimodsl, tmp_path):
    path = tmp_path / "mine.mimo"
    path.write_text("mine")
    ran = mimodsl("new", path)
    assert (ran.code, path.read_text()) == (2, "mine")
    assert "already exists" in ran.err
    assert [one.name for one in tmp_path.iterdir()] == ["mine.mimo"]


def test_templates_are_listed_with_what_they_are(mimodsl):
    ran = mimodsl("new", "--list")
    names = [line.split()[0] for line in ran.out.splitlines()]
    assert names == TEMPLATES
    assert "Nemotron VLM, colocated: encoder and language model share all ranks." in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name the file to write"),
        (("mine.mimo", "--template", "nemotron_vl"), "did you mean nemotron_vlm?"),
        (("mine.mimo", "--template", "zzz"), "--list shows all templates"),
        (("no/such/folder/mine.mimo",), "no/such/folder/mine.mimo: No such file or directory"),
    ],
)
def test_wrong_usage_writes_nothing(mimodsl, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    ran = mimodsl("new", *arguments)
    assert ran.code == 2
    assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_needs_no_hard_links(mimodsl, tmp_path, monkeypatch, demo):
    def refused(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    path = tmp_path / "mine.mimo"
    assert mimodsl("new", path).code == 0
    assert path.read_text() == demo.read_text()
    path.write_text("mine")
    assert "already exists" in mimodsl("new", path).err
    assert path.read_text() == "mine"
    output = tmp_path / "spec.json"
    assert mimodsl("export", demo, "--to", "json", "--output", output).code == 0
    assert {one.name for one in tmp_path.iterdir()} == {"mine.mimo", "spec.json"}
