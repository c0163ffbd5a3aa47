"""Exported torchrun scripts train, on nodes of unequal size, too, and fail where the run fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimodsl.cli.main import main
from tests.e2e.launched import free_ports
from tests.e2e.tiny import tiny


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Exports the spec for the CPU and starts the script on a node; gives the process."""
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "tiny.mimo").write_text(tiny(3))
    script = tmp_path / "train.sh"

    def export(*options: str) -> None:
        spec = str(tmp_path / "tiny.mimo")
        fixed = ("--to", "torchrun", "--device", "cpu", "--folder", "run", "--output", str(script))
        assert main(["export", spec, *fixed, *options]) == 0

    def start(**variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", script.name],
            cwd=script.parent,
            env={**os.environ, "PYTHON": sys.executable, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return export, start


def test_two_nodes_of_unequal_size_are_one_run(exported, tmp_path):
    export, start = exported
    export("--steps", "2", "--gpus-per-node", "2")
    (tmp_path / "tiny.mimo").unlink()  # the script has it
    (port,) = free_ports(1)
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    nodes = [start(NODE_RANK=str(node), **rendezvous) for node in (0, 1)]
    said = [node.communicate()[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "3 ranks on cpu over gloo" in said[0]
    assert said[1] == ""  # the first rank speaks for the run
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "step-00000002\n"
    logs = tmp_path / "run" / "logs"
    assert (logs / "node-0.log").read_text().endswith(said[0])
    assert (logs / "node-1.log").read_text().startswith("node 1 of 2, ")


def test_a_run_that_fails_fails_its_script(exported, tmp_path):
    export, start = exported
    export("--set", "replicas=1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("no folder")
    (port,) = free_ports(1)
    node = start(MASTER_PORT=str(port))
    said, _ = node.communicate()
    assert node.returncode == 1, said
    assert "error: checkpoints can't be saved to run/checkpoints: File exists" in said
    assert said in (Path(tmp_path) / "run" / "logs" / "node-0.log").read_text()
