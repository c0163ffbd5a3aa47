"""The same command again ends a run that broke off, and ranks of a world agree on it."""

import json

import pytest

import mimodsl
from mimodsl.cli.main import main
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.launcher import first_ranks_training
from mimodsl.runtime.train import Training
from tests.e2e.tiny import tiny
from tests.files import as_written


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    path = tmp_path / "tiny.mimo"
    path.write_text(tiny(3))
    return path


def build(capfd, *arguments):
    assert main(["build", *map(str, arguments), "--device", "cpu", "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_a_resumed_run_does_the_steps_that_are_left_and_no_more(spec, tmp_path, capfd):
    whole = build(capfd, spec, "--steps", 3)
    options = ["--save", tmp_path / "run", "--resume"]
    begun = build(capfd, spec, "--steps", 1, *options)
    resumed = build(capfd, spec, "--steps", 3, *options)
    losses = [step["loss"] for step in (*begun["steps"], *resumed["steps"])]
    assert [step["step"] for step in resumed["steps"]] == [2, 3]
    assert losses == [step["loss"] for step in whole["steps"]]
    saved = as_written(tmp_path / "run" / "step-00000003")
    assert build(capfd, spec, "--steps", 3, *options)["steps"] == []
    assert as_written(tmp_path / "run" / "step-00000003") == saved


@pytest.mark.parametrize("options", [[], ["--save", "a", "--load", "b"]])
def test_resuming_needs_the_folder_that_the_run_saves_to(spec, options, capfd):
    assert main(["build", str(spec), "--resume", *options]) == 2
    assert "--resume goes on from the folder of --save DIR" in capfd.readouterr().err


def test_checkpoints_without_a_latest_one_are_not_trained_over(spec, tmp_path, capfd):
    (tmp_path / "run" / "step-00000001").mkdir(parents=True)
    arguments = ["build", str(spec), "--save", str(tmp_path / "run"), "--resume"]
    assert main([*arguments, "--device", "cpu"]) == 1
    assert "the file latest is missing" in capfd.readouterr().err


def test_the_first_rank_says_what_is_trained():
    trainings = [Training(spec=mimodsl.parse(tiny(3)), steps=steps) for steps in (2, 7, 9)]
    assert (
        run_ranks(3, lambda worker: first_ranks_training(trainings[worker.rank]))
        == (trainings[0],) * 3
    )
