"""`mimodsl plan --groups` writes the members of all groups to a file, whole or not at all."""

import csv
import json

import pytest

from mimodsl.show.plan import group_table


@pytest.mark.parametrize("name", ["groups.csv", "groups"])
def test_a_table_for_spreadsheets(mimodsl, demo, tmp_path, name):
    path = tmp_path / name
    ran = mimodsl("plan", demo, "--groups", path)
    with path.open() as file:
        table = list(csv.DictReader(file))
    assert (ran.code, ran.out) == (0, f"{path} written: {len(table)} rows\n")
    own = [row for row in table if row["name"] == "llm.tp" and row["index"] == "1"]
    assert [(row["position"], row["rank"]) for row in own] == [("0", "6"), ("1", "7")]


def test_a_table_for_programs(mimodsl, demo, tmp_path):
    path = tmp_path / "groups.jsonl"
    path.write_text("old")
    assert mimodsl("plan", demo, "--groups", path).code == 0
    first = json.loads(path.read_text().splitlines()[0])
    assert first == {"name": "encoder.tp", "index": 0, "position": 0, "rank": 0}


def test_a_table_on_standard_output(mimodsl, demo, tmp_path):
    path = tmp_path / "groups.csv"
    mimodsl("plan", demo, "--groups", path)
    ran = mimodsl("plan", demo, "--groups", "-")
    assert (ran.code, ran.out) == (0, path.read_text())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--groups", "groups.json"), "expected a name in .csv or .jsonl, found 'groups.json'"),
        (("--groups", "."), "is a folder"),
        (("--groups", "-", "--json"), "not with --rank, --json"),
        (("--groups", "-", "--rank", "0"), "not with --rank, --json"),
        (("--groups", "/absent/groups.csv"), "/absent/groups.csv: No such file or directory"),
        (("--groups", "/dev/full"), "/dev/full: No space left on device"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_line(mimodsl, demo, options, words):
    ran = mimodsl("plan", demo, *options)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.parametrize("old", [None, "old"])
def test_an_interrupted_table_leaves_what_was_there(mimodsl, demo, tmp_path, monkeypatch, old):
    def interrupted(*_):
        yield "name,index\n"
        raise KeyboardInterrupt

    path = tmp_path / "groups.csv"
    if old:
        path.write_text(old)
    monkeypatch.setattr(group_table, "group_rows", interrupted)
    ran = mimodsl("plan", demo, "--groups", path)
    assert (ran.code, ran.err) == (1, "interrupted\n")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == (
        {"groups.csv": old} if old else {}
    )
