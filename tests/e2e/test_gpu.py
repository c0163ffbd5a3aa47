"""The same specs on GPUs: the losses of CPUs, step by step, and layouts that compute the model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.e2e.verified import TEXT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

ROOT = Path(__file__).parents[2]

# mamba_ssm's blocks are 16 wide at least; two steps' samples are the same in every layout.
MODEL = TEXT.replace("head_dim = 16, state = 8", "head_dim = 32, state = 16").replace(
    "sequence = 16", "sequence     = 16\n  microbatches = MICROBATCHES\n  micro_batch  = 2"
)
REPLICAS = {
    "grid encoder {\n  dense = dp:1": "grid encoder {\n  dense = dp:2",
    "  dense  = dp:1\n  expert = edp:1": "  dense  = dp:2\n  expert = ep:2 * edp:1",
}
SPLIT = {
    "grid encoder {\n  dense = dp:1": "grid encoder {\n  dense = dp:2",
    "  dense  = dp:1\n  expert = edp:1": "  dense  = tp:2 * dp:1\n  expert = ep:2 * edp:1",
}
BESIDE = {"encoder & llm": "encoder | llm", "no_pipelining": "1f1b"}
FOUR_BESIDE = REPLICAS | BESIDE
FOUR = {
    "grid encoder {\n  dense = dp:1": "grid encoder {\n  dense = tp:2 * dp:2",
    "  dense  = dp:1\n  expert = edp:1": "  dense  = tp:2 * dp:2\n  expert = ep:4 * edp:1",
}
LAYOUTS = {
    "one": (1, {}),
    "replicas": (2, REPLICAS),
    "split": (2, SPLIT),
    "beside": (2, BESIDE),
    "four": (4, FOUR),
    "four beside": (4, FOUR_BESIDE),
}
TOO_FEW = "there are too few GPUs"


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Path]:
    """Its number of ranks and its spec."""
    world, changes = LAYOUTS[request.param]
    if torch.cuda.device_count() < world:
        pytest.skip(TOO_FEW)
    return world, written(tmp_path, changes)


def written(folder: Path, changes: dict[str, str]) -> Path:
    text = MODEL.replace("MICROBATCHES", "2" if "dp:2" not in str(changes) else "1")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "layout.mimo"
    path.write_text(text)
    return path


def mimodsl(*arguments: object, launcher: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the command prints with --json, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name != "RANK"}
    command = [sys.executable, *launcher, "-m", "mimodsl", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=clean)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout[done.stdout.index("{") :])


def losses(document: dict[str, Any]) -> list[float]:
    return [step["loss"] for step in document["steps"]]


@pytest.mark.parametrize(
    ("kernels", "precision", "within"),
    [("local", "fp32", 5e-3), ("local", "bf16", 5e-2), ("transformer_engine", "bf16", 5e-2)],
)
def test_losses_are_those_of_cpus_step_by_step(
    layout: tuple[int, Path], kernels: str, precision: str, within: float
) -> None:
    """From one checkpoint, since each device draws weights of its own; in bf16 with experts in one
    product."""
    if kernels == "transformer_engine":
        pytest.importorskip("transformer_engine")
    _, spec = layout
    text, start = spec.read_text(), spec.parent / "start"

    def on(device: str, kernels: str, *arguments: object) -> list[float]:
        wanted = f"precision = {precision}\n  kernels   = {kernels}"
        spec.write_text(text.replace("precision = fp32", wanted))
        return losses(mimodsl("build", spec, "--device", device, *arguments))

    on("cpu", "local", "--steps", 1, "--save", start)
    on_gpus = on("cuda", kernels, "--steps", 8, "--load", start)
    assert on_gpus == pytest.approx(on("cpu", "local", "--steps", 8, "--load", start), rel=within)
    assert on_gpus[-1] < on_gpus[0]


def test_a_layout_on_gpus_trains_the_model(layout: tuple[int, Path]) -> None:
    world, spec = layout
    document = mimodsl("verify", spec, "--device", "cuda")
    assert document["equal"]
    assert document["world"] == world


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason=TOO_FEW)
def test_torchrun_starts_the_same_run(tmp_path: Path) -> None:
    spec = written(tmp_path, BESIDE)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
    launched = mimodsl("build", spec, "--steps", 3, launcher=torchrun)
    started = mimodsl("build", spec, "--steps", 3, "--device", "cuda")
    assert losses(launched) == pytest.approx(losses(started), rel=1e-4)
