"""`mimodsl check --fix` makes certain corrections, whole files or nothing, and shows them."""

import os

import pytest

from mimodsl.cli.main import main
from mimodsl.diagnostics import Diagnostic, Edit, Label
from mimodsl.diagnostics.edits import apply_edits
from mimodsl.source import SourceFile, Span
from tests.files import as_written

SPEC = """\
use "presets/nemotron_small.mimo"

grid llm {
  dense  = tp:1 * dp:2
  expert = ep:2 * pp
}

module language : nemotron_small {
  hidden = 64
}

schedule no_pipelining {
  sequence = 64
}
"""


def broken(*pairs):
    text = SPEC
    for right, wrong in pairs:
        assert right in text
        text = text.replace(right, wrong)
    return text


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.mimo"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("hidden", "hiden"),
        ("sequence = 64", "sequence: 64"),
        ("grid llm", "gird llm"),
        ("nemotron_small {", "nemotron_smal {"),
        ("tp:1 * dp:2", "tp:1 × dp:2"),
        ("no_pipelining", "no_piplining"),
        ("sequence = 64", 'sequence = "64"'),
    ],
)
def test_what_can_have_been_meant_in_one_way_only_is_corrected(mimodsl, spec, right, wrong):
    assert mimodsl("check", spec).out == "no mistakes\n"
    spec.write_text(broken((right, wrong)))
    ran = mimodsl("check", spec, "--fix")
    assert spec.read_text() == SPEC
    assert ran.code == 0
    assert ran.out.endswith("\nfixed 1 mistake in 1 file\n\nno mistakes\n")
    assert f"--- {spec}\n+++ {spec} fixed\n" in ran.out


def test_a_shipped_preset_is_brought_in(mimodsl, spec):
    use, rest = SPEC.split("\n", 1)
    spec.write_text(f"# mine\n{rest}")
    assert f"help: `{use}` adds this shipped preset" in mimodsl("check", spec).out
    assert mimodsl("check", spec, "--fix").code == 0
    assert spec.read_text() == f"# mine\n\n{use}\n\n{rest.lstrip()}"


def test_it_goes_on_with_mistakes_that_a_fix_brings_to_light(mimodsl, spec):
    spec.write_text(broken(("sequence = 64", "sequnce: 64"), ("hidden", "hiden")))
    ran = mimodsl("check", spec, "--fix")
    assert (ran.code, spec.read_text()) == (0, SPEC)
    assert "fixed 3 mistakes in 1 file" in ran.out


def test_what_is_uncertain_stays_and_is_reported(mimodsl, spec):
    text = broken(("hidden", "hiden"), ("dp:2", "dp:0"))
    spec.write_text(text)
    ran = mimodsl("check", spec, "--fix")
    assert ran.code == 1
    assert spec.read_text() == text.replace("hiden", "hidden")
    assert "MIMO203" in ran.out
    assert ran.out.endswith("\n1 error\n")


@pytest.mark.parametrize(
    "text",
    [
        # two names are as near, digits tell names apart, and the right name is taken already
        "let replicas_a = 1\nlet replicas_b = 2\nlet n = replicas_c\n",
        "let ranks1 = 1\nlet n = ranks2\n",
        "train {\n  seed = 1\n  sed = 2\n}\n",
    ],
)
def test_no_guesses(mimodsl, spec, text):
    spec.write_text(text)
    ran = mimodsl("check", spec, "--fix")
    assert ran.code == 1
    assert "fixed" not in ran.out
    assert spec.read_text() == text


def test_nothing_is_written_where_nothing_is_wrong(mimodsl, spec):
    before = as_written(spec)
    assert mimodsl("check", spec, "--fix").out == "no mistakes\n"
    assert as_written(spec) == before


def test_used_files_are_fixed_where_they_are_named(mimodsl, tmp_path, spec):
    parts = tmp_path / "parts.mimo"
    parts.write_text("preset mine : gpt {\n  hiden = 64\n}\n")
    spec.write_text(f'use "parts.mimo"\n{SPEC}')
    assert mimodsl("check", spec, "--fix").code == 1
    assert "hiden" in parts.read_text()
    assert mimodsl("check", tmp_path, "--fix").code == 0
    assert "hidden" in parts.read_text()


def test_mode_links_marks_and_line_breaks_stay(mimodsl, tmp_path, spec):
    text = "\ufeff" + broken(("hidden", "hiden")).replace("\n", "\r\n")
    spec.write_bytes(text.encode())
    spec.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(spec)
    assert mimodsl("check", link, "--fix").code == 0
    assert link.is_symlink()
    assert spec.read_bytes().decode() == text.replace("hiden", "hidden")
    assert spec.stat().st_mode & 0o777 == 0o640


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(mimodsl, spec, monkeypatch):
    def full(_descriptor):
        raise OSError(28, os.strerror(28), str(spec))

    text = broken(("hidden", "hiden"))
    spec.write_text(text)
    monkeypatch.setattr("os.fsync", full)
    assert mimodsl("check", spec, "--fix").code == 2
    assert spec.read_text() == text
    assert list(spec.parent.iterdir()) == [spec]


def test_reports_of_other_formats_stay_alone_on_standard_output(mimodsl, spec):
    spec.write_text(broken(("hidden", "hiden")))
    ran = mimodsl("check", spec, "--fix", "--format", "json")
    assert ran.out == "[]\n"
    assert "+  hidden = 64" in ran.err


def test_standard_input_has_nothing_to_fix():
    assert main(["check", "-", "--fix"]) == 2


def test_edits_of_one_diagnostic_are_made_together_or_not_at_all():
    source = SourceFile("x.mimo", "one two three")
    other = SourceFile("y.mimo", "one two three")

    def mistake(*edits):
        return Diagnostic(code="X", message="", primary=Label(edits[0].span), edits=edits)

    def edit(start, end, text, file=source):
        return Edit(Span(file, start, end), text)

    first = mistake(edit(0, 3, "1"), edit(8, 13, "3"))
    overlapping = mistake(edit(4, 7, "2"), edit(12, 13, ""))
    elsewhere = mistake(edit(4, 7, "2"), edit(0, 1, "", other))
    assert apply_edits(source, [first, overlapping, elsewhere]) == apply_edits(source, [first])
    assert apply_edits(source, [first]).text == "1 two 3"
    assert apply_edits(source, [elsewhere]).count == 0
    assert apply_edits(source, [overlapping, first]).text == "one 2 thre"
