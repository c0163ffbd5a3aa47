"""The example of the docs: its package is found, its numbers are true, and it learns to read."""

import json
import runpy
import sys

import pytest
import torch
from megatron.core.transformer.spec_utils import build_module

import mimodsl
from mimodsl.cli.main import main
from mimodsl.ir.package import CustomModule
from mimodsl.planner.memory import peak_memory
from mimodsl.planner.plan import plan
from tests.e2e import worlds
from tests.e2e.digits import EXAMPLE, is_installed, measured
from tests.e2e.launched import launched
from tests.e2e.test_export_python import assert_same, exported, run_script, train

SPEC, RESAMPLED = EXAMPLE / "digits.mimo", EXAMPLE / "resampled.mimo"
DATA = ["--data", "mimo_digits.samples:Digits", "--eval-steps", 5]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    with is_installed(tmp_path_factory.mktemp("site")):
        yield


@pytest.fixture
def build(installed, capfd):
    def run(*arguments):
        assert main(["build", *map(str, arguments), "--device", "cpu", "--json"]) == 0
        return json.loads(capfd.readouterr().out)

    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kinds_say_what_their_modules_hold_save_and_compute(installed, dtype):
    from mimo_digits import cnn, resampler

    spec = mimodsl.load(RESAMPLED)
    for name, builder in (("vision", cnn.build), ("projector", resampler.build)):
        said = CustomModule.in_spec(spec, spec.module(name))
        place = () if said.between is None else (said.between,)
        module = build_module(builder(said.kind, *place)).to(dtype)
        inputs = torch.randn(5, *said.inputs, dtype=dtype, requires_grad=name == "projector")
        outputs, kept, flops = measured(module, inputs)
        assert outputs.shape == (5, *said.outputs)
        assert kept == 5 * said.saved_bytes(dtype.itemsize)
        assert flops == 5 * said.flops
        assert {key: tuple(one.shape) for key, one in module.named_parameters()} == said.weights


def test_plans_count_with_what_the_kinds_say(installed):
    spec = mimodsl.load(RESAMPLED)
    assert mimodsl.check(spec) == ()
    kept = peak_memory(plan(spec), 0).activation_memory.kept
    for name in ("vision", "projector"):
        own = CustomModule.in_spec(spec, spec.module(name))
        assert kept[name] == {"own module": 16 * own.saved_bytes(4)}
    (bridge,) = mimodsl.plan(spec).bridges
    assert bridge.sent == (16 * 2, 64)


def test_its_rule_finds_and_corrects_a_side(installed, tmp_path, capfd):
    path = tmp_path / "wrong.mimo"
    wider = SPEC.read_text().replace("width = 16", "width = 16\n  side  = 9")
    path.write_text(wider.replace("sequence     = 8", "sequence     = 32"))
    assert main(["check", str(path)]) == 1
    assert "error[DIGITS001]: a side of 9 pixels is not halved twice" in capfd.readouterr().out
    assert main(["check", str(path), "--fix"]) == 0
    assert "side  = 12" in path.read_text()


def test_it_learns_to_read_and_goes_on_in_another_layout(build, tmp_path):
    """Of 320 digits that it has never seen; guessing reads 10 %."""
    saved = tmp_path / "run"
    run = build(
        SPEC, *DATA, "--set", "steps=60", "--steps", 60, "--eval-every", 60, "--save", saved
    )
    (reads,) = run["evaluations"]
    assert reads["tokens"] == 320
    assert reads["accuracy"] > 0.6
    alone = tmp_path / "alone.mimo"
    alone.write_text(SPEC.read_text().replace("dp:2", "dp:1").replace("tp:2", "dp:1"))
    # On the floor of its learning rate, a step moves nothing.
    options = ["--set", "steps=60", "--steps", 1, "--eval-every", 1, "--load", saved]
    (again,) = build(alone, *DATA, *options)["evaluations"]
    assert again["step"] == 61
    assert again["loss"] == pytest.approx(reads["loss"], rel=1e-4)
    assert again["accuracy"] == pytest.approx(reads["accuracy"], abs=1 / 320)


def test_their_layout_is_proven_to_train_as_one_rank(installed, tmp_path, capfd):
    """Also where tensor parallelism gives several ranks the same of both modules."""
    path = tmp_path / "split.mimo"
    path.write_text(RESAMPLED.read_text().replace("dp:2", "tp:2 * dp:2"))
    assert main(["verify", str(path), "--steps", "1", "--json"]) == 0
    found = capfd.readouterr()
    assert "warning[MIMO559]" in found.err
    assert json.loads(found.out)["equal"] is True


def test_a_script_takes_both_modules_from_their_package(installed, tmp_path):
    spec = mimodsl.load(RESAMPLED).with_schedule(micro_batch=2)
    script = exported(spec, tmp_path)
    assert "from mimo_digits.kind import DigitCnn, Resampler" in script.read_text()
    assert "mimo_digits.resampler:build" in script.read_text()
    expected = worlds.run(spec.world, train, spec)
    assert_same(worlds.run(spec.world, run_script, script)[0], expected[0])


def test_its_own_loop_runs_on_launched_ranks(installed, tmp_path):
    alone = tmp_path / "alone.mimo"
    alone.write_text(SPEC.read_text().replace("dp:2", "dp:1").replace("tp:2", "dp:1"))
    arguments = [f"--spec={alone}", "--steps=4", "--every=2", "--enough=0.0", "--device=cpu"]

    def loop():
        sys.argv[1:] = arguments
        runpy.run_path(str(EXAMPLE / "train.py"), run_name="__main__")

    first, _ = launched(2, loop)
    lines = [json.loads(line) for line in first.out.splitlines() if line.startswith("{")]
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert lines[0]["seconds"].keys() >= {"forward", "optimizer"}
    assert 0 <= lines[-1]["accuracy"] <= 1
