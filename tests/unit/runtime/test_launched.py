"""What a process makes of the environment that a launcher gives it."""

from pathlib import Path

import pytest
import torch

from mimodsl.cli.main import main

DEMO = Path(__file__).parents[3] / "specs" / "nemotron_vlm.mimo"


def test_too_few_gpus_for_the_ranks_of_a_node_are_counted_there(monkeypatch, capfd):
    launched = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert main(["build", str(DEMO), "--device", "cuda"]) == 2
    assert capfd.readouterr().err == "error: the ranks of this machine need 4 GPUs, it has 2\n"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0"}, "RANK is set, as by a launcher, but "),
        ({"RANK": "first", "WORLD_SIZE": "8"}, "RANK is set, as by a launcher, but "),
        ({"RANK": "8", "WORLD_SIZE": "8"}, "RANK is 8 in a world of 8 ranks"),
    ],
)
def test_an_environment_of_no_launcher_is_said_to_be_one(environment, said, monkeypatch, capfd):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["build", str(DEMO), "--device", "cpu"]) == 2
    assert capfd.readouterr().err.startswith(f"error: {said}")
