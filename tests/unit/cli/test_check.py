"""`mimodsl check` prints every mistake in the format asked for."""

import json


def test_a_sound_spec(mimodsl, demo):
    ran = mimodsl("check", demo)
    assert (ran.code, ran.out, ran.err) == (0, "no mistakes\n", "")


def test_several_sound_specs(mimodsl, demo):
    assert mimodsl("check", demo, demo).out == "no mistakes in 2 specs\n"


def test_full_shows_all_mistakes_in_one_run(mimodsl, broken):
    ran = mimodsl("check", broken)
    assert ran.code == 1
    assert "MIMO301" in ran.out
    assert "activatoin" in ran.out
    assert ran.out.endswith("\n2 errors\n")
    assert "\x1b" not in ran.out


def test_concise_is_a_line_each(mimodsl, broken):
    ran = mimodsl("check", "--format", "concise", broken)
    assert ran.code == 1
    assert [line.split(": ")[0].rpartition("broken.mimo:")[1] for line in ran.out.splitlines()] == [
        "broken.mimo:"
    ] * 2


def test_json_is_one_list_for_all_specs(mimodsl, broken, demo):
    found = json.loads(mimodsl("check", "--format", "json", broken, demo, broken).out)
    assert len(found) == 4
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
