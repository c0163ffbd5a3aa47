"""Python exports and compares specs as the command does."""

import json
import re

import pytest

import mimodsl
from mimodsl.cli.main import main
from mimodsl.exporter.targets import TARGETS

SPEC = "specs/nemotron_vlm.mimo"


@pytest.mark.parametrize("to", [target.name for target in TARGETS])
def test_an_export_is_the_text_of_the_command(to, capsys):
    assert main(["export", SPEC, "--to", to]) == 0
    text = mimodsl.export(mimodsl.load(SPEC), to, name="nemotron_vlm", source=SPEC)
    assert text == capsys.readouterr().out


@pytest.mark.parametrize(
    ("to", "options", "words"),
    [
        ("jsno", {}, "there is no target jsno; did you mean json?"),
        ("json", {"steps": 3}, "steps is not for to='json'"),
        ("slurm", {"time": "soon"}, "no time limit of Slurm: 'soon'"),
        ("torchrun", {"gpus_per_node": 2, "ranks_per_node": 4}, "4 ranks a node need as many GPUs"),
    ],
)
def test_what_a_target_does_not_take_is_a_value_error(to, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        mimodsl.export(mimodsl.load(SPEC), to, **options)


def test_differences_are_those_of_the_command(tmp_path, capsys):
    spec = mimodsl.load(SPEC)
    other = spec.with_module("language", moe={"experts": 16})
    path = tmp_path / "other.json"
    path.write_text(mimodsl.to_json(other))
    assert main(["diff", SPEC, str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)["differences"]
    differences = mimodsl.diff(spec, other)
    assert [(one.where, one.field, one.before, one.after) for one in differences] == [
        (one["where"], one["field"], one["before"], one["after"]) for one in document
    ]
    assert mimodsl.diff(spec, spec) == ()
