"""Under a launcher a machine needs a GPU for each of its own ranks, not for all of the world's."""

from pathlib import Path

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
