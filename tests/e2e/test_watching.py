"""What a run shows of itself on the command line: evaluations, curves, traces, a user's errors."""

import gzip
import json
import os
import signal
from pathlib import Path

import pytest

from mimodsl.cli.main import main
from tests.e2e.tiny import tiny

FALLING = """
train {
  lr_decay = linear { steps = 4 }
}
"""
COUNTING = """
import torch
from mimodsl.data import Data


class Counting(Data):
    first = 1

    def tokens(self, step, index):
        if step == 9:
            raise IndexError("no tenth step")
        return (torch.arange(17) + self.first + step + index) % 32

    def images(self, flow, step, index):
        raise AssertionError("there are no flows")

    def held_out(self):
        held_out = Counting(self.spec)
        held_out.first = 40
        return held_out


class AllTrained(Counting):
    def held_out(self):
        return None
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting_here.py").write_text(COUNTING)
    path = tmp_path / "tiny.mimo"
    path.write_text(tiny(2) + FALLING)
    return path


def build(*arguments):
    return main(["build", *map(str, arguments), "--device", "cpu"])


def test_a_run_is_evaluated_logged_and_traced(spec, tmp_path, capfd):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = ["--data", "counting_here:Counting"]
    watched = ["--log-dir", "logs", "--profile", "traces", "--profile-ranks", "1"]
    every = ["--eval-every", 2, "--eval-steps", 3, "--profile-steps", "2:3"]
    assert build(spec, "--steps", 3, "--json", *data, *watched, *every) == 0
    run = json.loads(capfd.readouterr().out)

    assert [step["lr"] for step in run["steps"]] == pytest.approx([1e-4, 0.75e-4, 0.5e-4])
    assert [one["step"] for one in run["evaluations"]] == [2, 3]
    assert [one["tokens"] for one in run["evaluations"]] == [2 * 16 * 3] * 2

    logged = EventAccumulator("logs").Reload()
    assert set(logged.Tags()["scalars"]) == {
        *("train/loss", "train/grad_norm", "train/lr", "train/tokens_per_s"),
        *("eval/loss", "eval/accuracy"),
    }
    for kind, shown in (("train", run["steps"]), ("eval", run["evaluations"])):
        points = [(point.step, point.value) for point in logged.Scalars(f"{kind}/loss")]
        assert points == [(one["step"], pytest.approx(one["loss"])) for one in shown]

    assert run["traces"] == {"1": "traces/rank1.json.gz"}
    assert [path.name for path in (tmp_path / "traces").iterdir()] == ["rank1.json.gz"]
    with gzip.open(tmp_path / "traces" / "rank1.json.gz", "rt") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    steps = {name for name in names if name and name.startswith("step ")}
    assert steps == {"step 2 of the run", "step 3 of the run"}
    assert any("addmm" in name or "aten::mm" in name for name in names if name)


def test_ctrl_c_while_a_trace_is_written_leaves_nothing_of_it(spec, monkeypatch, capfd):
    def interrupt(_, path):
        Path(path).write_text("[")
        os.kill(os.getppid(), signal.SIGINT)
        signal.pause()

    monkeypatch.setattr("torch.profiler.profile.export_chrome_trace", interrupt)
    assert build(spec, "--steps", 2, "--profile", "traces", "--profile-ranks", "1") == 1
    assert capfd.readouterr().err == "interrupted\n"
    assert list(Path("traces").iterdir()) == []


def test_an_error_in_a_users_data_is_told_as_the_users(spec, capfd):
    assert build(spec, "--steps", 12, "--data", "counting_here:Counting") == 1
    error = capfd.readouterr().err
    assert "error: counting_here:Counting failed, tokens(9, " in error
    assert "  IndexError: no tenth step\n  at counting_here.py:11 in tokens" in error
    assert "internal error" not in error
    assert "Traceback" not in error


def test_data_that_holds_nothing_out_is_not_evaluated_on(spec, capfd):
    assert build(spec, "--data", "counting_here:AllTrained", "--eval-every", 1) == 1
    assert "counting_here:AllTrained holds no samples out" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--eval-steps", 2], "--eval-steps needs --eval-every N"),
        (["--profile-steps", "1:2"], "need --profile DIR"),
        (["--profile", "a", "--profile-steps", "2:1"], "A at most B"),
        (["--profile", "a", "--profile-steps", "2:9", "--steps", 3], "goes to 9, the run has 3"),
        (["--profile", "a", "--profile-ranks", "0,2"], "there is no rank 2"),
        (["--data", "nothing"], "expected MODULE:FUNCTION"),
        (["--data", "a b:c"], "expected MODULE:FUNCTION"),
        (["--device", "meta", "--eval-every", 1], "no use for --eval-every"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(spec, options, words, capfd):
    arguments = ["build", str(spec), *map(str, options)]
    try:
        code = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert words in capfd.readouterr().err


def test_logs_without_tensorboard_name_the_extra(spec, monkeypatch, capfd):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    assert build(spec, "--log-dir", "logs") == 2
    assert "pip install 'mimodsl[log]'" in capfd.readouterr().err
