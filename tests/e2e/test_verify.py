"""`mimodsl verify` from end to end: what it prints, what it exits with, and what it compares."""

import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

import mimodsl
from mimodsl.cli.main import main
from mimodsl.runtime.verify import verify as verifying
from mimodsl.runtime.verify.parameters import name_of
from mimodsl.runtime.verify.request import TOLERANCE
from mimodsl.runtime.verify.verdict import Cause
from mimodsl.runtime.verify.verify import prepared, verify
from tests.e2e.verified import BESIDE, FAN_IN, TEXT

SPECS = Path(__file__).parents[2] / "specs"


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.mimo"
    path.write_text(TEXT.replace("dense = dp:1", "dense = dp:2").replace("dp:1\n", "dp:2\n"))
    path.write_text(path.read_text().replace("edp:1", "edp:2").replace("sequence = 16", TWO))
    return path


TWO = "sequence = 16\n  microbatches = 2"


@pytest.mark.parametrize(
    ("name", "steps"), [("nemotron_vlm", 2), ("nemotron_vlm_colocated", 1), ("nemotron_vlm_pp", 1)]
)
def test_the_shipped_specs_train_the_same_model(name, steps, capfd):
    assert main(["verify", str(SPECS / f"{name}.mimo"), "--steps", str(steps), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["equal"] is True
    assert document["difference"] is None
    assert document["world"] == 8
    assert [step["step"] for step in document["steps"]] == [1, 2][:steps]
    assert [change["field"] for change in document["changes"]] == ["train.optimizer.eps"]
    distances = [document["weights"], *(step["gradients"] for step in document["steps"])]
    assert all(0 < found["distance"] < TOLERANCE / 5 for found in distances)


def test_the_norms_of_gathered_gradients_are_those_that_megatron_takes():
    """What is gathered are gradients, whole, and each of them once."""
    for step in verify(FAN_IN, steps=2).verdict.steps:
        alone = sum(norm.alone**2 for norm in step.norms) ** 0.5
        layout = sum(norm.layout**2 for norm in step.norms) ** 0.5
        assert (alone, layout) == pytest.approx(step.grad_norm, rel=1e-5)


def test_gathered_gradients_and_weights_of_overlapped_communication():
    """The last update is gathered, too, though no forward pass waits for it."""
    ddp = attrs.evolve(BESIDE.train.ddp, overlap_grad_reduce=True, overlap_param_gather=True)
    spec = attrs.evolve(BESIDE, train=attrs.evolve(BESIDE.train, ddp=ddp))
    assert verify(spec, steps=2).verdict.difference is None


@pytest.mark.parametrize("frozen", ["vision", "language"])
def test_frozen_modules_stay_as_they_are(frozen):
    modules = (attrs.evolve(one, frozen=one.name == frozen) for one in FAN_IN.modules)
    verdict = verify(attrs.evolve(FAN_IN, modules=tuple(modules)), steps=1).verdict
    assert verdict.difference is None
    norms = {norm.module: norm.layout for norm in verdict.steps[0].norms}
    assert [name for name, norm in norms.items() if norm == 0.0] == [frozen]


def test_what_is_printed(small, capfd):
    assert main(["verify", str(small), "--steps", "1"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "one rank: step 1\n" in out
    assert "2 ranks: step 1\n" in out
    for word in ("loss", "gradient norm", "vision", "projector", "language", "weights"):
        assert word in out
    assert "equal: on 2 ranks the model trains as on one (69 parameters" in out
    assert [line for line in out.splitlines() if line.endswith("  ")] == []


def test_a_layout_that_differs(small, capfd, monkeypatch):
    from mimodsl.builder.schedule import MicrobatchSchedule

    original = MicrobatchSchedule._scale_gradients

    def scale_gradients(schedule: Any, factor: float) -> None:
        original(schedule, factor)
        if os.environ["WORLD_SIZE"] == "2":
            schedule.model.modality_submodules["vision"].scale_gradients(0.5)

    monkeypatch.setattr(MicrobatchSchedule, "_scale_gradients", scale_gradients)
    assert main(["verify", str(small), "--steps", "1"]) == 1
    lines = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    place = lines.index("different: the gradients part in step 1")
    assert lines[place + 1 : place + 6] == [
        "  module  vision",
        "  at      vit.class_token",
        "  seen    every such gradient of its grid is 0.5 times what it is on one rank",
        "  differ  vision 27 of 27, projector 3 of 3, language 0 of 38",
        f"  likely  {Cause.DP_RATIO}: the factor is 1 / dp: averaged, not summed",
    ]

    assert main(["verify", str(small), "--steps", "1", "--json"]) == 1
    document = json.loads(capfd.readouterr().out)
    assert document["equal"] is False
    assert document["difference"]["check"] == "gradients"
    assert document["difference"]["module"] == "vision"


def test_a_tolerance_below_rounding(small, capfd):
    assert main(["verify", str(small), "--steps", "1", "--tolerance", "1e-12"]) == 1
    assert "different: the " in capfd.readouterr().out


def test_too_many_ranks(tmp_path, capfd):
    path = tmp_path / "large.mimo"
    path.write_text(
        "grid all {\n  dense = tp:64\n}\n\n"
        "module language : gpt {\n  layers = 1\n  hidden = 256\n  vocabulary = 256\n"
        "  attention = { heads = 64 }\n}\n\nschedule 1f1b {\n  sequence = 64\n}\n"
    )
    assert main(["verify", str(path)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "the layout has 64 ranks, and 64 with the fewest replicas" in err


def test_too_few_gpus(small, capfd, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main(["verify", str(small), "--device", "cuda"]) == 2
    assert "the ranks of this machine need 2 GPUs, it has 1" in capfd.readouterr().err


def test_a_spec_with_mistakes(small, capfd):
    small.write_text(small.read_text().replace("edp:2", "edp:3"))
    assert main(["verify", str(small)]) == 1
    assert "error[MIMO301]" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--tolerance", "0"], ["--tolerance", "1"], ["--rank", "1"]]
)
def test_wrong_usage(arguments, small):
    with pytest.raises(SystemExit) as exited:
        main(["verify", str(small), *arguments])
    assert exited.value.code == 2


def test_full_size_keeps_the_widths(small):
    spec = mimodsl.load(small)
    wide = attrs.evolve(spec, schedule=attrs.evolve(spec.schedule, sequence=512))
    assert prepared(wide, full_size=True).schedule.sequence == 512
    assert prepared(wide, full_size=False).schedule.sequence == 32
    assert verifying.prepared(wide, full_size=True).world == 2


@pytest.mark.parametrize(
    ("key", "index", "name"),
    [
        (
            "modality_submodules.vision.module.encoders.vision.vit.decoder.layers.mlp.weight",
            (1,),
            ("vision", "vit.decoder.layers.1.mlp.weight"),
        ),
        (
            "modality_submodules.vision.module.input_projections.0.encoder.weight",
            (),
            ("projector", "encoder.weight"),
        ),
        (
            "language_model.module.decoder.layers.mlp.experts.experts.linear_fc1.weight",
            (2, 5),
            ("language", "decoder.layers.2.mlp.experts.5.linear_fc1.weight"),
        ),
        (
            "language_model.module.decoder.layers.3.mlp.experts.experts.linear_fc1.weight",
            (5,),
            ("language", "decoder.layers.3.mlp.experts.5.linear_fc1.weight"),
        ),
    ],
)
def test_parameters_are_named_by_module_layer_and_expert(key, index, name):
    assert name_of(FAN_IN, (key, index)) == name
