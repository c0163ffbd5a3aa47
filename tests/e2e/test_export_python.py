"""Exported Python scripts train as their specs do, step by step, without this package."""

import contextlib
import io
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

import mimodsl
from mimodsl.builder.assembly import assemble
from mimodsl.cli.main import main
from mimodsl.ir import Spec
from mimodsl.runtime import on_cpu
from mimodsl.runtime.data import SyntheticData, microbatches
from mimodsl.runtime.train import seed_step
from tests.e2e import worlds
from tests.e2e.launched import launched

SPECS = Path(__file__).parents[2] / "specs"
STEPS = 2
STEP = re.compile(r"^step \d+: loss (\S+), gradient norm (\S+)$", re.MULTILINE)
type Steps = list[tuple[float, float]]


def exported(spec: Spec, folder: Path) -> Path:
    path, script = folder / "spec.mimo", folder / "train.py"
    path.write_text(str(spec))
    command = ["export", str(path), "--to", "python", "--steps", str(STEPS)]
    assert main([*command, "--output", str(script)]) == 0
    return script


def run_script(script: Path) -> Steps:
    """What the script says of its steps on this rank of a world that is there already."""
    saying, arguments = io.StringIO(), sys.argv
    dist.init_process_group = dist.destroy_process_group = lambda *_: None
    os.environ["LOCAL_RANK"], sys.argv = str(dist.get_rank()), [str(script)]
    before = set(sys.modules)
    with contextlib.redirect_stdout(saying):
        runpy.run_path(str(script), run_name="__main__")
    sys.argv = arguments
    assert not [name for name in set(sys.modules) - before if name.startswith("mimodsl")]
    return numbers(saying.getvalue())


def numbers(said: str) -> Steps:
    return [(float(loss), float(norm)) for loss, norm in STEP.findall(said)]


def train(spec: Spec) -> Steps:
    assembly, data = assemble(spec), SyntheticData(spec=spec)
    steps: Steps = []
    for number in range(1, STEPS + 1):
        seed_step(assembly, number)
        samples = microbatches(data, number - 1, assembly.process_groups)
        step = assembly.train_step(samples)
        assert step.grad_norm is not None
        steps.append((step.loss, step.grad_norm))
    return steps


def assert_same(found: Steps, expected: Steps) -> None:
    assert len(found) == STEPS
    for (loss, norm), (their_loss, their_norm) in zip(found, expected, strict=True):
        assert loss == pytest.approx(their_loss, rel=1e-6)
        assert norm == pytest.approx(their_norm, rel=1e-6)


CASES = {
    "side by side": ("nemotron_vlm", {"replicas": "1"}),
    "together": ("nemotron_vlm_colocated", {"world": "4"}),
    "pipeline": ("nemotron_vlm_pp", {}),
    "experts": ("gpt_moe", {}),
    "plain vit": ("gpt_moe_vlm", {}),
}


@pytest.mark.parametrize(("name", "values"), CASES.values(), ids=CASES)
def test_a_script_trains_as_its_spec_step_by_step(name, values, tmp_path):
    spec = mimodsl.load(SPECS / f"{name}.mimo", values)
    expected = worlds.run(spec.world, train, spec)
    found = worlds.run(spec.world, run_script, exported(spec, tmp_path))
    assert_same(found[0], expected[0])


VARIANTS = {
    # Learned positions, stages of unlike layers, a mean over microbatches, tied embeddings.
    "gpt in stages": """
grid all {
  dense  = tp:1 * dp:1 * pp:3
  expert = etp:1 * ep:1 * edp:1 * pp
}

module language : gpt {
  layers         = 6
  hidden         = 32
  vocabulary     = 64
  positions      = learned
  tie_embeddings = true
  moe_every      = 2
  attention      = { heads = 2 }
  moe            = { experts = 4, topk = 2, ffn = 32 }
}

schedule 1f1b {
  sequence     = 16
  microbatches = 3
}

train {
  precision = fp32
  loss_per  = microbatch
}
""",
    # A frozen encoder, its projector alone trained, in bf16, with experts in one product.
    "frozen": """
grid seeing {
  dense = dp:2
}

grid reading {
  dense  = tp:2
  expert = etp:1 * ep:2 * pp
}

place seeing | reading

module eye : vit {
  grid   = seeing
  frozen = true
  layers = 1
  hidden = 32
  heads  = 2
  ffn    = 64
  image  = 32x32
}

module nerve : mlp_projector {
  grid = seeing
}

module mind : gpt {
  grid       = reading
  layers     = 1
  hidden     = 32
  vocabulary = 64
  attention  = { heads = 2 }
  moe        = { experts = 4, topk = 2, ffn = 32 }
}

flow eye -> nerve -> mind {
  token  = 63
  images = 2
}

schedule 1f1b {
  sequence     = 32
  micro_batch  = 2
  microbatches = 2
}
""",
}


VARIANTS["two encoders in fp16"] = """
grid seeing {
  dense = dp:2
}

grid hearing {
  dense = dp:1
}

grid reading {
  dense = tp:2
}

place seeing | hearing | reading

module eye : vit {
  grid   = seeing
  layers = 1
  hidden = 32
  heads  = 2
  ffn    = 64
  image  = 32x32
}

module ear : vit {
  grid   = hearing
  layers = 1
  hidden = 32
  heads  = 2
  ffn    = 64
  image  = 32x32
}

module nerve : affine_projector {
  grid = seeing
}

module drum : mlp_projector {
  grid = hearing
}

module mind : gpt {
  grid       = reading
  layers     = 1
  hidden     = 32
  vocabulary = 64
  attention  = { heads = 2 }
}

flow eye -> nerve -> mind {
  token = 63
}

flow ear -> drum -> mind {
  token = 62
}

schedule 1f1b {
  sequence     = 32
  micro_batch  = 2
  microbatches = 2
}

train {
  precision = fp16
  lr_decay  = cosine { steps = 4, warmup = 1 }
}
"""


@pytest.mark.parametrize("text", VARIANTS.values(), ids=VARIANTS)
def test_variants_have_lines_of_their_own(text, tmp_path):
    spec = mimodsl.parse(text)
    expected = worlds.run(spec.world, train, spec)
    found = worlds.run(spec.world, run_script, exported(spec, tmp_path))
    assert_same(found[0], expected[0])


def test_a_script_for_gpus_runs_on_launched_cpus(tmp_path):
    spec = mimodsl.load(SPECS / "gpt_moe.mimo")
    spec = spec.with_grid("llm", dense={"dp": 1}, expert={"edp": 1, "pp": None})
    script = exported(spec, tmp_path)

    def on_cpus() -> int:
        sys.argv[1:] = [str(script), "--steps", "1"]
        return on_cpu.main()

    (ran,) = launched(spec.world, on_cpus)
    assert ran.code == 0
    ((loss, norm),) = numbers(ran.out)
    assert 5 < loss < 8
    assert norm > 0
