"""`mimodsl check` prints every mistake in the format asked for."""

import json

import pytest


def test_a_sound_spec(mimodsl, demo):
    ran = mimodsl("check", demo)
    assert (ran.code, ran.out, ran.err) == (0, "no mistakes\n", "")


def test_several_sound_specs(mimodsl, demo):
    other = demo.with_name("nemotron_vlm_pp.mimo")
    assert mimodsl("check", demo, other, demo).out == "no mistakes in 2 specs\n"


def test_full_shows_all_mistakes_in_one_run(mimodsl, broken):
    ran = mimodsl("check", broken)
    assert ran.code == 1
    assert "MIMO301" in ran.out
    assert "activatoin" in ran.out
    assert ran.out.endswith("\n2 errors; --fix corrects 1\n")
    assert "\x1b" not in ran.out


def test_concise_is_a_line_each(mimodsl, broken):
    ran = mimodsl("check", "--format", "concise", broken)
    assert ran.code == 1
    *lines, count = ran.out.splitlines()
    assert [line.split(": ")[0].rpartition("broken.mimo:")[1] for line in lines] == [
        "broken.mimo:"
    ] * 2
    assert count == "2 errors; --fix corrects 1"


def test_json_is_one_list_for_all_specs(mimodsl, broken, demo):
    found = json.loads(mimodsl("check", "--format", "json", broken, demo, broken).out)
    assert len(found) == 2  # a file that is named twice is checked once
    assert {one["severity"] for one in found} == {"error"}
    assert json.loads(mimodsl("check", "--format", "json", demo).out) == []


def test_github_commands(mimodsl, broken):
    lines = mimodsl("check", "--format", "github", broken).out.splitlines()
    assert all(line.startswith("::error file=") for line in lines)


def test_set_gives_a_let_another_value(mimodsl, demo):
    assert mimodsl("check", demo, "--set", "replicas=4").code == 0
    ran = mimodsl("check", demo, "--set", "replicas=none", "--set", "nothing=1")
    assert ran.code == 1
    assert "nothing" in ran.out


def test_what_is_set_cannot_be_fixed(mimodsl, tmp_path):
    path = tmp_path / "flag.mimo"
    path.write_text("let flag = true\n")
    ran = mimodsl("check", path, "--set", "flag=False")
    assert "did you mean `false`?" in ran.out
    assert ran.out.endswith("\n1 error in 1 library\n")


def test_a_folder_is_all_specs_below_it_with_libraries_told_apart(mimodsl, demo):
    ran = mimodsl("check", demo.parent)
    assert ran.code == 0
    specs = len(list(demo.parent.glob("*.mimo")))
    assert ran.out == f"no mistakes in {specs} specs and 2 libraries\n"


def test_hidden_folders_are_left_out_and_an_empty_folder_is_wrong_usage(mimodsl, tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "old.mimo").write_text("grid {")
    ran = mimodsl("check", tmp_path)
    assert (ran.code, ran.err) == (2, f"error: there is no .mimo file in {tmp_path}\n")


LIBRARY = "let replicas = 2\n\npreset small : gpt {\n  layers = 2\n}\n"


def test_a_library_need_not_be_whole_but_right(mimodsl, tmp_path):
    path = tmp_path / "library.mimo"
    path.write_text(LIBRARY)
    assert mimodsl("check", path).out == "no mistakes in 1 library\n"
    path.write_text(LIBRARY.replace("layers", "layer"))
    ran = mimodsl("check", path)
    assert ran.code == 1
    assert "MIMO201" in ran.out
    assert "MIMO109" not in ran.out
    assert ran.out.endswith("\n1 error in 1 library; --fix corrects 1\n")


def test_a_spec_without_a_schedule_is_no_library(mimodsl, tmp_path):
    path = tmp_path / "part.mimo"
    path.write_text("grid g {\n  dense = tp:2\n}\n\nplace g\n")
    assert "MIMO109" in mimodsl("check", path).out


def test_a_library_is_nothing_to_plan(mimodsl, tmp_path):
    path = tmp_path / "library.mimo"
    path.write_text(LIBRARY)
    ran = mimodsl("plan", path)
    assert ran.code == 1
    assert "MIMO109" in ran.err


def test_a_mistake_in_a_used_file_is_said_once(mimodsl, tmp_path):
    (tmp_path / "parts.mimo").write_text("let n = 1 // 0\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.mimo").write_text('use "parts.mimo"\nlet m = n\n')
    ran = mimodsl("check", "--format", "concise", tmp_path)
    assert ran.out.count("MIMO207") == 1
    assert ran.out.endswith("\n1 error in 3 libraries\n")


def test_json_has_a_short_name(mimodsl, broken):
    assert mimodsl("check", "--json", broken) == mimodsl("check", "--format", "json", broken)


def test_standard_input(mimodsl, demo):
    assert mimodsl("check", "-", given=demo.read_bytes()).out == "no mistakes\n"
    ran = mimodsl("check", "-", "--format", "concise", given=b"gird g {\n}\n\xff")
    assert ran.out.startswith("<stdin>:3:1: error[MIMO009] ")


def test_standard_input_may_be_json(mimodsl, demo):
    document = mimodsl("export", demo, "--to", "json").out
    assert mimodsl("check", "-", given=document.encode()).out == "no mistakes\n"
    ran = mimodsl("check", "-", given=document.replace('"tp"', '"tb"').encode())
    assert ran.out.startswith("error[MIMO303]: the base view has no axis `tb`\n   --> <stdin>:")
    assert "--fix" not in ran.out  # the edits are in the words of `.mimo`


WARNED = """\
use "presets/nemotron_small.mimo"

grid llm {
  dense = tp:1 * dp:2
}

module language : nemotron_small {
  pattern = "M*M*"
}

schedule no_pipelining {
  sequence = 64
}
"""


@pytest.fixture
def warned(tmp_path):
    """A spec with one warning and no error."""
    path = tmp_path / "warned.mimo"
    path.write_text(WARNED)
    return path


def codes(ran):
    return [one["code"] for one in json.loads(ran.out)]


def test_warnings_are_selected_and_ignored_by_code_and_by_its_beginning(mimodsl, warned):
    (code,) = codes(mimodsl("check", "--format", "json", warned))
    for options, shown in (
        (["--ignore", code], []),
        (["--ignore", f"mimo722, {code[:5].lower()}"], []),
        (["--ignore", "MIMO722"], [code]),
        (["--select", code], [code]),
        (["--select", "MIMO722"], []),
        (["--select", "MIMO722", "--select", code], [code]),
        (["--select", code, "--ignore", code], []),
    ):
        ran = mimodsl("check", "--format", "json", *options, warned)
        assert (ran.code, codes(ran)) == (0, shown), options


def test_an_error_can_neither_be_ignored_nor_left_out(mimodsl, broken):
    ran = mimodsl("check", "--ignore", "MIMO201", broken)
    assert ran.code == 2
    assert ran.err == "error: --ignore: MIMO201 is an error, and errors are always shown\n"
    ran = mimodsl("check", "--ignore", "MIMO20", broken)
    assert ran.err == "error: --ignore: all of MIMO20 are errors, and errors are always shown\n"
    assert "MIMO201" in mimodsl("check", "--ignore", "MIMO", broken).out


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_a_code_that_is_none_is_wrong_usage(mimodsl, demo, option):
    ran = mimodsl("check", option, "MIMO99", demo)
    assert ran.code == 2
    assert f"{option}: there is no code MIMO99" in ran.err


def test_no_more_is_shown_than_anyone_reads(mimodsl, tmp_path):
    path = tmp_path / "many.mimo"
    path.write_text("grid g {\n  v = " + " * ".join(f"a{n}:1" for n in range(5_000)) + "\n}\n")
    ran = mimodsl("check", "--format", "concise", path)
    assert len(ran.out.splitlines()) == 202
    assert "too many mistakes" in ran.out
