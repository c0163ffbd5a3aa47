"""`mimodsl build` trains the demo spec on eight local ranks, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mimodsl import load
from mimodsl.cli.main import main
from mimodsl.planner.plan import plan
from mimodsl.planner.sharing import communicators
from tests.e2e.launched import launched

SPECS = Path(__file__).parents[2] / "specs"
DEMO = str(SPECS / "nemotron_vlm.mimo")
COLOCATED = str(SPECS / "nemotron_vlm_colocated.mimo")
MIMODSL = [sys.executable, "-m", "mimodsl"]


@pytest.fixture(autouse=True)
def outside_a_launcher(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


def test_json_is_one_document_and_the_same_twice(capfd):
    arguments = ["build", DEMO, "--device", "cpu", "--steps", "2", "--seed", "7", "--json"]
    documents = []
    for _ in range(2):
        assert main(arguments) == 0
        out, err = capfd.readouterr()
        documents.append(json.loads(out))
        assert "    2  " in err
        assert "Warning" not in err
    first, again = documents
    assert (first["world"], first["device"], first["backend"], first["seed"]) == (
        8,
        "cpu",
        "gloo",
        7,
    )
    assert first["plan"]["layout"] == "non-colocated"
    assert [step["step"] for step in first["steps"]] == [1, 2]
    assert all(step["seconds"] > 0 and step["tokens_per_s"] > 0 for step in first["steps"])
    assert set(first["parameters"]["vision"]) == {"0", "1", "2", "3"}
    assert set(first["parameters"]["language"]) == {"4", "5", "6", "7"}
    # Every communicator of the plan, and the world itself.
    planned = communicators(plan(load(DEMO)))
    assert len(first["groups"]) == sum(one.count for one in planned) + 1
    assert {"names": ["llm.dp", "llm.dp-cp", "llm.expert.edp"], "ranks": [4, 6]} in first["groups"]
    for key in ("loss", "grad_norm"):
        assert [step[key] for step in first["steps"]] == [step[key] for step in again["steps"]]


def test_people_get_steps_and_a_summary(capfd):
    assert main(["build", COLOCATED, "--set", "world=2", "--device", "cpu", "--steps", "1"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert " step       loss  grad norm         lr   tokens/s      time\n    1     " in out
    assert "2 ranks on cpu over gloo" in out
    assert "projector  0-1" in out


def test_a_rank_that_fails_ends_the_build(capfd, monkeypatch):
    def refuse(*_args, **_kwargs):
        if os.environ["RANK"] == "3":
            raise ValueError("this rank has no room")
        return original(*_args, **_kwargs)

    from mimodsl.builder import assembly

    original = assembly.build_optimizer
    monkeypatch.setattr(assembly, "build_optimizer", refuse)
    assert main(["build", DEMO, "--device", "cpu"]) == 1
    _, err = capfd.readouterr()
    assert err.startswith(
        "error: rank 3 failed (optimizer)\n  ValueError: this rank has no room\n  at "
    )
    assert "Traceback" not in err


def test_ctrl_c_ends_all_ranks_in_the_middle_of_a_run(tmp_path):
    ours, theirs = os.pipe()
    launcher = subprocess.Popen(
        [*MIMODSL, "build", COLOCATED, "--set", "world=2", "--device", "cpu", "--steps", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[theirs],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    os.close(theirs)
    with launcher:
        for line in launcher.stdout:
            if line.split()[:1] == [b"1"]:
                break
        launcher.send_signal(signal.SIGINT)
        assert launcher.wait() == 1
        assert launcher.stderr.read() == b"interrupted\n"
    assert os.read(ours, 1) == b""  # the last process that had the other end is gone
    os.close(ours)
    assert list(tmp_path.iterdir()) == []


def test_under_a_launcher_each_process_is_one_rank():
    arguments = ["build", COLOCATED, "--set", "world=2", "--device", "cpu", "--steps", "2"]
    first, other = launched(2, lambda: main([*arguments, "--json"]))
    assert (first.code, other.code) == (0, 0)
    assert (other.out, other.err) == ("", "")
    document = json.loads(first.out)
    assert [step["step"] for step in document["steps"]] == [1, 2]
    assert set(document["parameters"]["vision"]) == {"0", "1"}


def test_under_a_launcher_a_world_of_another_size_is_refused(capfd, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main(["build", COLOCATED, "--set", "world=2", "--device", "cpu"]) == 2
    said = "error: the spec's world has 2 ranks, the launcher has started 1\n"
    assert capfd.readouterr() == ("", said)
